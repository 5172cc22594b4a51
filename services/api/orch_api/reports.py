"""Takes what nodes report from the bus into the store: the status of their pods, and the nodes themselves.

One elected process takes all reports, so that a pod's reports are written in their order; its writes are fenced. A
report counts only for pods that are bound to the node which sent it, as the subject's token says.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch import telemetry
from orch.bus import subjects
from orch.bus.protocol import Bus, Delivery
from orch.clock import Clock, rfc3339
from orch.errors import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    BusError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from orch.runtime.leader import LeaderElector
from orch.store.keys import ObjectKey
from orch.store.protocol import Compare, Store
from orch_api.kinds.node_labels import not_for_nodes
from orch_api.registry import Registry, Resource
from orch_api.schema import Schemas
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.commit import Change, Committed, Committer, Verdict
from orch_api.storage.objects import Document, Encoded, encode, to_document
from orch_api.strategy import section, validate_meta
from orch_pb.v1.node_pb2 import NodeReport, PodReport
from orch_pb.v1.object_pb2 import TraceContext

log = logging.getLogger(__name__)

TAKEN: Final = Counter("orch_api_reports", "Reports from nodes by outcome", ("what", "outcome"))

_BATCH: Final = 128
_IN_FLIGHT: Final = 512
_REMEMBERED: Final = 100_000
_RETRY_DELAY: Final = 1.0
_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0


class _PodWork(msgspec.Struct, frozen=True):
    """A pod's newest report of a batch, with all deliveries that it settles."""

    node: str
    report: PodReport
    deliveries: list[Delivery]


class _NodeWork(msgspec.Struct, frozen=True):
    """A node's newest report of a batch, with all deliveries that it settles."""

    node: str
    report: NodeReport
    deliveries: list[Delivery]


class ReportConsumer:
    """Consumes the stream REPORTS while this process is the elected one."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        cache: ObjectCache,
        registry: Registry,
        schemas: Schemas,
        identity: str,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._cache = cache
        self._committer = Committer(store, cache)
        self._pods = _required(registry, "pods")
        self._nodes = _required(registry, "nodes")
        self._pod_schema = schemas.of("", "v1", "Pod")
        self._node_schema = schemas.of("", "v1", "Node")
        self._elector = LeaderElector(store, "reports", identity, clock=clock)
        self._clock = clock
        self._latest: OrderedDict[str, tuple[str, int]] = OrderedDict()

    async def run(self) -> None:
        """Campaign for ever, and take reports while elected."""
        await self._elector.run(self._lead)

    async def _lead(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                await self._cache.wait_ready()
                await self._bus.ensure_stream(subjects.REPORTS)
                await self._consume()
            except (BusError, UnavailableError, StoreError) as error:
                log.warning("reports cannot be taken, next try in %.1f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            else:
                backoff = _FIRST_BACKOFF

    async def _consume(self) -> None:
        """Take deliveries in batches: what arrives while a batch is being written makes the next one."""
        arrived: asyncio.Queue[Delivery] = asyncio.Queue(_IN_FLIGHT)

        async def read() -> None:
            async with aclosing(self._bus.work(subjects.REPORTS.name, "api", in_flight=_IN_FLIGHT)) as deliveries:
                async for delivery in deliveries:
                    await arrived.put(delivery)

        reading = asyncio.create_task(read(), name="reports")
        try:
            while (batch := await _next_batch(arrived, reading)) is not None:
                await self.take(batch)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        reading.result()

    async def take(self, batch: Sequence[Delivery]) -> None:
        """Write what a batch of reports says and settle it. What cannot be written now is delivered again."""
        with telemetry.span("api.reports", attributes={"reports": len(batch)}):
            await self._take(batch)

    async def _take(self, batch: Sequence[Delivery]) -> None:
        pods: dict[tuple[str, str], _PodWork] = {}
        nodes: dict[str, _NodeWork] = {}
        dropped: list[Delivery] = []
        for delivery in batch:
            message = delivery.message
            try:
                node, what = subjects.parse_report(message.subject)
                if what == "node":
                    earlier = nodes[node].deliveries if node in nodes else []
                    nodes[node] = _NodeWork(node, NodeReport.FromString(message.data), [*earlier, delivery])
                elif not self._add(pods, node, PodReport.FromString(message.data), delivery):
                    TAKEN.labels("pods", "stale").inc()
                    dropped.append(delivery)
            except (DecodeError, ValueError) as error:
                TAKEN.labels("any", "unreadable").inc()
                log.warning("a report on %s cannot be read: %s", message.subject, error)
                dropped.append(delivery)
        await asyncio.gather(*(delivery.done() for delivery in dropped))
        await asyncio.gather(self._take_pods(list(pods.values())), *map(self._take_node, nodes.values()))

    # Pods -------------------------------------------------------------------------------------------------------

    def _add(self, works: dict[tuple[str, str], _PodWork], node: str, report: PodReport, delivery: Delivery) -> bool:
        """Add a report to the batch unless a newer one is known; it replaces an older one of the same pod."""
        if self._is_stale(report):
            return False
        work = works.get((node, report.uid))
        if work is None:
            works[node, report.uid] = _PodWork(node, report, [delivery])
            return True
        older = work.report.boot_id == report.boot_id and report.sequence < work.report.sequence
        newest = work.report if older else report
        newest.terminated = newest.terminated or (older and report.terminated)
        works[node, report.uid] = _PodWork(node, newest, [*work.deliveries, delivery])
        return True

    def _is_stale(self, report: PodReport) -> bool:
        known = self._latest.get(report.uid)
        return known is not None and known[0] == report.boot_id and report.sequence <= known[1]

    def _remember(self, report: PodReport) -> None:
        self._latest[report.uid] = (report.boot_id, report.sequence)
        self._latest.move_to_end(report.uid)
        if len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)

    async def _take_pods(self, works: Sequence[_PodWork]) -> None:
        changes = [
            Change(self._pods, ObjectKey("", "pods", work.report.namespace, work.report.name), self._pod_change(work))
            for work in works
        ]
        deliveries = [delivery for work in works for delivery in work.deliveries]
        try:
            results = await self._committer.change_all(changes, fence=self._fence())
        except (UnavailableError, StoreError) as error:
            log.warning("the store does not take reports, they are tried again: %s", error)
            await _retry("pods", deliveries)
        except Exception as error:  # noqa: BLE001 - what one report trips must not stop all others, again and again
            if len(works) > 1:
                for work in works:
                    await self._take_pods((work,))
            else:
                await _drop("pods", deliveries, error)
        else:
            await asyncio.gather(*(self._settle(*pair) for pair in zip(works, results, strict=True)))

    async def _settle(self, work: _PodWork, result: Committed | ApiError) -> None:
        if isinstance(result, ConflictError):
            await _retry("pods", work.deliveries)
            return
        if isinstance(result, ApiError):
            TAKEN.labels("pods", "refused").inc()
            level = logging.DEBUG if isinstance(result, NotFoundError) else logging.WARNING
            log.log(level, "a report from node %s is refused: %s", work.node, result)
        else:
            TAKEN.labels("pods", "unchanged" if result.made is Verdict.KEEP else "written").inc()
            self._remember(work.report)
        await asyncio.gather(*(delivery.done() for delivery in work.deliveries))

    def _pod_change(self, work: _PodWork) -> Any:
        report = work.report

        def decide(item: Cached) -> Encoded | Verdict:
            if item.uid != report.uid:
                raise NotFoundError.of("pods", "", report.name)
            if item.node != work.node:
                problem = f'node "{work.node}" reports a pod that is bound to node "{item.node}"'
                raise ForbiddenError.of("pods", "", report.name, problem)
            document = to_document(item.json)
            metadata: Document = document["metadata"]
            old: Document = document.get("status") or {}
            status = self._pod_status(report, old) if report.status else old
            document["status"] = status
            changed = status != old
            if report.terminated and metadata.get("deletionTimestamp"):
                if not metadata.get("finalizers"):
                    return Verdict.REMOVE
                changed = changed or bool(metadata.get("deletionGracePeriodSeconds"))
                metadata["deletionGracePeriodSeconds"] = 0
            return encode(document, _origin(report, item)) if changed else Verdict.KEEP

        return decide

    def _pod_status(self, report: PodReport, old: Document) -> Document:
        """Return the reported status with what others have put into the old one. Raises BadRequestError."""
        reported = self._checked(self._pod_schema.decode, report.status)
        reported["conditions"] = _merged(old.get("conditions") or [], reported.get("conditions") or [])
        if "qosClass" in old:
            reported["qosClass"] = old["qosClass"]
        return reported

    def _checked(self, decode: Any, status: bytes) -> Document:
        document, _ = decode(b'{"metadata":{},"status":' + status + b"}", "Ignore")
        checked: Document | None = document.get("status")
        if checked is None:
            raise BadRequestError("the report has no status")
        return checked

    # Nodes ------------------------------------------------------------------------------------------------------

    async def _take_node(self, work: _NodeWork) -> None:
        node, report = work.node, work.report
        try:
            document, _ = self._node_schema.decode(report.object, "Ignore")
            _check_author(node, report.node, section(document, "metadata").get("name") or node)
            await self._write_node(node, document)
        except (ConflictError, UnavailableError, StoreError) as error:
            log.info("the report of node %s is tried again: %s", node, error)
            await _retry("node", work.deliveries)
            return
        except ApiError as error:
            TAKEN.labels("node", "refused").inc()
            log.warning("the report of node %s is refused: %s", node, error)
        except Exception as error:  # noqa: BLE001 - as above
            await _drop("node", work.deliveries, error)
            return
        else:
            TAKEN.labels("node", "written").inc()
        await asyncio.gather(*(delivery.done() for delivery in work.deliveries))

    async def _write_node(self, name: str, reported: Document) -> None:
        key = ObjectKey("", "nodes", "", name)

        async def decide(item: Cached) -> Encoded | Verdict:
            new, old = to_document(item.json), to_document(item.json)
            _update_node(new, reported)
            self._nodes.strategy.default(new)
            _refuse(name, self._nodes.strategy.validate_status(new, old))
            return Verdict.KEEP if new == old else encode(new, telemetry.current_trace())

        try:
            await self._committer.change(self._nodes, key, decide, fence=self._fence())
        except NotFoundError:
            await self._register(key, reported)

    async def _register(self, key: ObjectKey, reported: Document) -> None:
        given = section(reported, "metadata")
        _check_labels(key.name, given, {})
        document: Document = {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {
                "name": key.name,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": rfc3339(self._clock.now()),
                **{field: given[field] for field in ("labels", "annotations") if given.get(field)},
            },
            "spec": reported.get("spec") or {},
            "status": reported.get("status") or {},
        }
        strategy = self._nodes.strategy
        strategy.default(document)
        strategy.prepare_create(document)
        _refuse(key.name, [*validate_meta(document, self._nodes), *strategy.validate(document)])
        try:
            await self._committer.create(self._nodes, key, encode(document), self._fence())
        except AlreadyExistsError as error:
            raise ConflictError.of("nodes", "", key.name) from error  # it came meanwhile: the next try updates it
        log.info("node %s is registered", key.name)

    def _fence(self) -> Compare | None:
        fence = self._elector.fence()
        return None if fence is None else Compare(fence.key.encode(), fence.create_revision)


async def _next_batch(arrived: asyncio.Queue[Delivery], reading: asyncio.Task[None]) -> list[Delivery] | None:
    """Return what has arrived, at least one delivery; None when nothing more is being read."""
    first = asyncio.create_task(arrived.get())
    try:
        await asyncio.wait((first, reading), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            return None
        batch = [first.result()]
    finally:
        first.cancel()
    while len(batch) < _BATCH and not arrived.empty():
        batch.append(arrived.get_nowait())
    return batch


async def _retry(what: str, deliveries: Sequence[Delivery]) -> None:
    """Have reports delivered again a little later."""
    TAKEN.labels(what, "retried").inc(len(deliveries))
    await asyncio.gather(*(delivery.retry(_RETRY_DELAY) for delivery in deliveries))


async def _drop(what: str, deliveries: Sequence[Delivery], error: Exception) -> None:
    """Let go of reports that this code fails on."""
    TAKEN.labels(what, "failed").inc(len(deliveries))
    log.error("a report on %s failed and is dropped", deliveries[-1].message.subject, exc_info=error)
    await asyncio.gather(*(delivery.done() for delivery in deliveries))


def _check_author(node: str, *named: str) -> None:
    """Refuse what a node says of another. Raises ForbiddenError."""
    for name in named:
        if name != node:
            raise ForbiddenError.of("nodes", "", name, f'node "{node}" reports for another')


def _check_labels(node: str, given: Document, known: Mapping[str, str]) -> None:
    """Refuse labels that a node may not give itself. Raises ForbiddenError."""
    withheld = not_for_nodes({**section(given, "labels"), **known}, known)
    if withheld:
        problem = f'node "{node}" is not allowed to set the following labels: {", ".join(withheld)}'
        raise ForbiddenError.of("nodes", "", node, problem)


def _required(registry: Registry, plural: str) -> Resource:
    resource = registry.stored("", plural)
    if resource is None:
        raise LookupError(f"the registry has no {plural}")
    return resource


def _refuse(name: str, causes: list[Any]) -> None:
    if causes:
        raise InvalidError.of("Node", "", name, causes)


_OF_NODES: Final = frozenset({"PodResizePending", "PodResizeInProgress"})
"""Conditions that only a pod's node sets, and takes away by not telling them any more."""


def _merged(old: list[Document], reported: list[Document]) -> list[Document]:
    """Return the reported conditions, an unchanged one with its old transition time, after those only others set."""
    before = {one.get("type"): one for one in old}
    types = {one.get("type") for one in reported} | _OF_NODES
    merged = [one for one in old if one.get("type") not in types]
    for one in reported:
        known = before.get(one.get("type"))
        if known is not None and known.get("status") == one.get("status") and known.get("lastTransitionTime"):
            merged.append({**one, "lastTransitionTime": known["lastTransitionTime"]})
        else:
            merged.append(one)
    return merged


def _update_node(document: Document, reported: Document) -> None:
    """Take the status of a report; labels, annotations and pod ranges only where the node has none yet."""
    metadata: Document = document["metadata"]
    given = section(reported, "metadata")
    _check_labels(metadata["name"], given, section(metadata, "labels"))
    for field in ("labels", "annotations"):
        if given.get(field):
            metadata[field] = {**given[field], **(metadata.get(field) or {})}
    spec: Document = document.get("spec") or {}
    for field in ("podCIDR", "podCIDRs", "providerID"):
        if not spec.get(field) and (value := section(reported, "spec").get(field)):
            spec[field] = value
    if spec:
        document["spec"] = spec
    if status := reported.get("status"):
        old: Document = document.get("status") or {}
        conditions = _merged(old.get("conditions") or [], status.get("conditions") or [])
        document["status"] = {**status, "conditions": conditions}


def _origin(report: PodReport, item: Cached) -> TraceContext | None:
    if report.HasField("trace"):
        return report.trace
    return TraceContext.FromString(item.trace) if item.trace else None
