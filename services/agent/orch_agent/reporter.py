"""Sends what the nodes of this process have to say: pod states, the nodes themselves, heartbeats and usage.

Pod reports are coalesced: of each pod only the newest state waits, and it is sent until the stream has it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge

from orch.bus import subjects
from orch.bus.protocol import Bus
from orch.clock import Clock
from orch.errors import BusError, OrchError, UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.events import EventRecorder, ObjectReference
from orch_agent.lease import NodeLease
from orch_agent.node import Node
from orch_agent.pods.host import EventType
from orch_agent.usage import Pulse
from orch_pb.v1 import node_pb2, object_pb2

_LOG: Final = logging.getLogger(__name__)
_SENT: Final = Counter("orch_agent_reports_total", "Reports that the stream has taken, by kind.", ["kind"])
_RETRIED: Final = Counter("orch_agent_report_retries_total", "Reports that were sent again, by kind.", ["kind"])
_WAITING: Final = Gauge("orch_agent_reports_waiting", "Pods whose newest state was not sent yet.")
_HEARTBEAT_FAILURES: Final = Counter("orch_agent_heartbeat_failures_total", "Heartbeats that could not be sent.")

_UNSENT: Final = Counter("orch_agent_usage_failures_total", "Samples of use that could not be taken or sent.")

_SENDERS: Final = 32
_NODES_PER_TURN: Final = 64
_SHORTEST_PAUSE: Final = 0.05
_LINGER: Final = 0.02
"""Seconds for which a report waits for a newer one of the same pod."""
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 10.0
_NODE_RETRY: Final = 1.0
_LEAST_PATIENCE: Final = 1.0
"""Seconds that the acknowledgement of a heartbeat is waited for, at the least."""
_COMPLAIN_EVERY: Final = 10.0


class Reporter:
    """The voice of one agent process, for its one node or its simulated many."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        recorder: EventRecorder | None,
        *,
        lease: NodeLease,
        heartbeat_interval: float = 1.0,
        node_interval: float = 300.0,
        usage_interval: float = 1.0,
        quiet_interval: float = 10.0,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._recorder = recorder
        self._lease = lease
        self._heartbeat_interval = heartbeat_interval
        self._node_interval = node_interval
        self._usage_interval = usage_interval
        self._quiet_interval = quiet_interval
        self._boot_id = str(uuid.uuid4())
        self._sequence = itertools.count(1)
        self._waiting: dict[str, tuple[str, node_pb2.PodReport]] = {}
        self._sending: set[str] = set()
        self._arrived = asyncio.Event()
        self._turned = asyncio.Event()
        self._next_complaint = 0.0

    # -- pods ----------------------------------------------------------------------------------------------------

    def report(
        self, node: str, pod: Pod, status: bytes, *, terminated: bool, trace: object_pb2.TraceContext | None
    ) -> None:
        """Take the newest state of a pod, in place of one that still waits."""
        meta = pod.metadata
        message = node_pb2.PodReport(
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            status=status,
            terminated=terminated,
            sequence=next(self._sequence),
            boot_id=self._boot_id,
            trace=trace,
        )
        self._waiting[meta.uid] = (node, message)
        _WAITING.set(len(self._waiting))
        self._arrived.set()

    def event(self, pod: Pod, container: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event about a pod or a container of it."""
        if self._recorder is None:
            return
        meta = pod.metadata
        path = ""
        if container:
            path = f"spec.{_field_of(pod, container)}{{{container}}}"
        about = ObjectReference(
            api_version=PODS.api_version,
            kind=PODS.name,
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            resource_version=meta.resource_version,
            field_path=path,
        )
        self._recorder.event(about, kind, reason, message)

    def node_event(self, node: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event about a node, which kubelet names by its name alone."""
        if self._recorder is not None:
            about = ObjectReference(api_version=NODES.api_version, kind=NODES.name, name=node, uid=node)
            self._recorder.event(about, kind, reason, message)

    async def run(self, nodes: Mapping[str, Node]) -> None:
        """Send for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._distribute(), name="pod reports")
            tasks.create_task(self._beat(nodes), name="heartbeats")
            tasks.create_task(self._report_nodes(nodes), name="node reports")
            tasks.create_task(self._sample(nodes), name="usage samples")

    async def _distribute(self) -> None:
        """Hand the waiting reports to a bounded number of senders, one at a time for each pod."""
        free = asyncio.Semaphore(_SENDERS)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                await self._clock.sleep(_LINGER)
                for uid in [uid for uid in self._waiting if uid not in self._sending]:
                    await free.acquire()
                    node, message = self._waiting.pop(uid)
                    self._sending.add(uid)
                    tasks.create_task(self._send_pod(uid, node, message, free))
                _WAITING.set(len(self._waiting))

    async def _send_pod(self, uid: str, node: str, message: node_pb2.PodReport, free: asyncio.Semaphore) -> None:
        delay = _FIRST_RETRY
        try:
            while not await self._append(node, "pods", message):
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
                node, message = self._waiting.pop(uid, (node, message))
        finally:
            free.release()
            self._sending.discard(uid)
            if uid in self._waiting:
                self._arrived.set()

    async def _append(self, node: str, kind: str, message: node_pb2.PodReport | node_pb2.NodeReport) -> bool:
        try:
            await self._bus.append(subjects.report_subject(node, kind), message.SerializeToString())
        except (BusError, UnavailableError) as error:
            _RETRIED.labels(kind).inc()
            _LOG.debug("report about %s of node %s was not taken: %s", kind, node, error)
            self._complain(error)
            return False
        _SENT.labels(kind).inc()
        return True

    def _complain(self, error: BusError | UnavailableError) -> None:
        """Log that reports are not taken, once in a while rather than for each."""
        now = self._clock.monotonic()
        if now >= self._next_complaint:
            self._next_complaint = now + _COMPLAIN_EVERY
            _LOG.warning("reports are not taken and will be sent again: %s", error)

    @property
    def idle(self) -> bool:
        """Whether all that is known of pods has been taken."""
        return not self._waiting and not self._sending

    # -- nodes ---------------------------------------------------------------------------------------------------

    def tell_nodes(self) -> None:
        """Tell at once which nodes have changed."""
        self._turned.set()

    async def _report_nodes(self, nodes: Mapping[str, Node]) -> None:
        """Tell each node's state at the start, when it changes, and every few minutes."""
        told: dict[str, tuple[str, float]] = {}

        async def tell(name: str, node: Node) -> None:
            seen, now = node.fingerprint(), self._clock.monotonic()
            before = told.get(name)
            if before is None or before[0] != seen or now - before[1] >= self._node_interval:
                report = node_pb2.NodeReport(node=name, object=node.document(self._clock.now()))
                if await self._append(name, "node", report):
                    told[name] = (seen, now)

        while True:
            everyone = list(nodes.items())
            for first in range(0, len(everyone), _SENDERS):
                await asyncio.gather(*(tell(name, node) for name, node in everyone[first : first + _SENDERS]))
            await self._until_turned(self._quiet_interval if len(told) == len(nodes) else _NODE_RETRY)

    async def _until_turned(self, seconds: float) -> None:
        alarm = asyncio.ensure_future(self._clock.sleep(seconds))
        alarm.add_done_callback(lambda ended: None if ended.cancelled() else self._turned.set())
        try:
            await self._turned.wait()
        finally:
            alarm.cancel()
        self._turned.clear()

    async def _beat(self, nodes: Mapping[str, Node]) -> None:
        """Send a heartbeat of each node. Once that of the last one is acknowledged, the lease is renewed.

        Those before it were sent over the same connection, and the server takes them in order.
        """
        *others, last = nodes
        while True:
            begun = self._clock.monotonic()
            try:
                for name in others:
                    await self._bus.publish(subjects.heartbeat_subject(name), self._heartbeat(name))
                async with asyncio.timeout(max(self._heartbeat_interval, _LEAST_PATIENCE)):
                    await self._bus.append(subjects.heartbeat_subject(last), self._heartbeat(last))
            except (BusError, UnavailableError, TimeoutError) as error:
                _HEARTBEAT_FAILURES.inc()
                _LOG.debug("heartbeats failed: %s", error or "they were not acknowledged")
            else:
                self._lease.renewed(begun)
            await self._clock.sleep(max(self._heartbeat_interval - (self._clock.monotonic() - begun), 0.05))

    def _heartbeat(self, node: str) -> bytes:
        beat = node_pb2.Heartbeat(
            node=node,
            sequence=next(self._sequence),
            boot_id=self._boot_id,
            unix_nanos=time.time_ns(),
            lease_seconds=self._lease.seconds,
        )
        return beat.SerializeToString()

    async def _sample(self, nodes: Mapping[str, Node]) -> None:
        """Tell what the nodes use as often as it changes; see orch_agent.usage."""
        begun = self._clock.monotonic()
        share = self._quiet_interval / max(len(nodes), 1)
        pulses = {name: Pulse(self._quiet_interval, begun - place * share) for place, name in enumerate(nodes)}
        while True:
            took = self._clock.monotonic() - begun
            await self._clock.sleep(max(self._usage_interval - took, _SHORTEST_PAUSE))
            begun = self._clock.monotonic()
            for place, (name, node) in enumerate(nodes.items()):
                if place % _NODES_PER_TURN == 0:
                    await asyncio.sleep(0)
                # Asked in any case: the answer is about the time since it was asked last.
                if node.usage_moves() or pulses[name].due(begun):
                    await self._sample_one(name, node, pulses[name])

    async def _sample_one(self, name: str, node: Node, pulse: Pulse) -> None:
        try:
            sample = await node.sample()
            for each in pulse.take(sample, self._clock.monotonic()):
                await self._bus.publish(subjects.metrics_subject(name), each.SerializeToString())
        except OrchError as error:
            _UNSENT.inc()
            _LOG.warning("usage of node %s was not sent: %s", name, error)


def _field_of(pod: Pod, container: str) -> str:
    """Return the field of the spec that a container is in."""
    if any(each.name == container for each in pod.spec.init_containers):
        return "initContainers"
    if any(each.name == container for each in pod.spec.ephemeral_containers):
        return "ephemeralContainers"
    return "containers"
