"""What nodes say of their use of processors and memory, as metrics.k8s.io shows it: for `kubectl top` and autoscalers.

Samples come on the bus (stream METRICS) and are kept as they came: processor time is counted up, so that its use is the
difference between two of them. They may come every second, which says little about a load; so use is told over 10 to 20
seconds where that much is known, as metrics-server's 15, and of what is newer over the time since the sample before the
last. Samples are read only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from orch.bus import subjects
from orch.bus.protocol import Bus, Message
from orch.clock import Clock, rfc3339
from orch.errors import NotFoundError
from orch.store.keys import ObjectKey
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import Cached
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

_STALE: Final = 60.0
"""Seconds after which a node's last sample says nothing any more."""

_SPAN: Final = 10.0
"""Seconds between two samples that are kept to be compared with later ones."""

_NANOS: Final = 1_000_000_000
_KIB: Final = 1024


class _Samples:
    """What is kept of one node: its last sample, the one before, and two older ones that are apart."""

    __slots__ = ("_kept", "_kept_at", "_older", "before", "last")

    def __init__(self) -> None:
        self.last = self.before = self._kept = self._older = b""
        self._kept_at = 0.0

    def take(self, data: bytes, now: float) -> None:
        self.before, self.last = self.last, data
        if not self._kept or now - self._kept_at >= _SPAN:
            self._older, self._kept, self._kept_at = self._kept, data, now

    @property
    def base(self) -> bytes:
        """The sample that the last one is compared with; b"" while there is none."""
        return self._older or (self._kept if self._kept is not self.last else b"")


class _Compared(msgspec.Struct, frozen=True):
    """Two samples of a node, and the seconds between them."""

    before: UsageSample
    last: UsageSample
    seconds: float


class Usage:
    """The samples of all nodes, and what they come to."""

    def __init__(self, bus: Bus, cache: ObjectCache, clock: Clock) -> None:
        self._bus = bus
        self._cache = cache
        self._clock = clock
        self._samples: dict[str, _Samples] = {}

    async def run(self) -> None:
        """Follow the samples for ever. Raises what ends the bus's stream."""
        async for message in self._bus.follow(subjects.METRICS.name, [subjects.METRICS_OF_ALL]):
            if isinstance(message, Message):
                self._samples.setdefault(message.subject, _Samples()).take(message.data, self._clock.monotonic())

    def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """Return the NodeMetrics or PodMetrics of one object in JSON.

        Raises NotFoundError, worded as metrics-server does: for the object, or else for what is known of its use.
        """
        for item, document in self.documents(resource, namespace):
            if item.key.name == name:
                return msgspec.json.encode(document)
        if self._cache.get(ObjectKey("", resource.plural, namespace, name)) is None:
            raise NotFoundError.of(resource.plural, "", name)
        raise NotFoundError.of(resource.kind.lower(), resource.group, f"{namespace}/{name}" if namespace else name)

    def documents(self, resource: Resource, namespace: str) -> Iterator[tuple[Cached, dict[str, Any]]]:
        """Yield each measured node, or pod of a namespace or ("") all, with what it uses; in order of their names."""
        found = self._nodes() if resource.kind == "NodeMetrics" else self._pods(namespace)
        yield from sorted(found, key=lambda pair: (pair[0].key.namespace, pair[0].key.name))

    def _compared(self) -> Iterator[tuple[_Compared, _Compared | None]]:
        """Yield each node's last sample beside an older one, and beside the one just before it if that is another."""
        now = self._clock.now().timestamp()
        for subject, samples in list(self._samples.items()):
            if not samples.base:
                continue
            last = UsageSample.FromString(samples.last)
            if now - last.unix_nanos / _NANOS > _STALE:
                del self._samples[subject]
                continue
            whole = _compare(samples.base, last)
            recent = _compare(samples.before, last) if samples.before != samples.base else None
            if whole is not None:
                yield whole, recent

    def _nodes(self) -> Iterator[tuple[Cached, dict[str, Any]]]:
        for compared, _ in self._compared():
            before, last, seconds = compared.before, compared.last, compared.seconds
            node = self._cache.get(ObjectKey("", "nodes", "", last.node))
            if node is not None:
                usage = _usage(before.cpu_nanos, last.cpu_nanos, last.memory_bytes, seconds)
                yield node, {**_head("NodeMetrics", node, last, seconds), "usage": usage}

    def _pods(self, namespace: str) -> Iterator[tuple[Cached, dict[str, Any]]]:
        for whole, recent in self._compared():
            known = _by_uid(whole)
            newer = _by_uid(recent) if recent is not None else {}
            for pod in whole.last.pods:
                if namespace and pod.namespace != namespace:
                    continue
                item = self._cache.get(ObjectKey("", "pods", pod.namespace, pod.name))
                if item is None or item.uid != pod.uid or not pod.containers:
                    continue
                names = {one.container for one in pod.containers}
                # A pod, or a container of it, that was not there yet is measured over the last moment alone.
                fresh = recent is not None and not names <= known.get(pod.uid, {}).keys()
                compared, earlier = (recent, newer) if fresh and recent is not None else (whole, known)
                if names & earlier.get(pod.uid, {}).keys():
                    yield item, _pod(item, pod, earlier[pod.uid], compared)


def _compare(earlier: bytes, last: UsageSample) -> _Compared | None:
    if not earlier:
        return None
    before = UsageSample.FromString(earlier)
    seconds = (last.unix_nanos - before.unix_nanos) / _NANOS
    return _Compared(before, last, seconds) if seconds > 0 else None


def _by_uid(compared: _Compared) -> dict[str, dict[str, ContainerUsage]]:
    return {pod.uid: {one.container: one for one in pod.containers} for pod in compared.before.pods}


def _pod(item: Cached, pod: PodUsage, earlier: dict[str, ContainerUsage], compared: _Compared) -> dict[str, Any]:
    seconds = compared.seconds
    containers = [_container(earlier.get(one.container), one, seconds) for one in pod.containers]
    return {**_head("PodMetrics", item, compared.last, seconds), "containers": containers}


def _head(kind: str, item: Cached, sample: UsageSample, seconds: float) -> dict[str, Any]:
    at = rfc3339(datetime.fromtimestamp(sample.unix_nanos / _NANOS, UTC))
    metadata: dict[str, Any] = {"name": item.key.name}
    if item.key.namespace:
        metadata["namespace"] = item.key.namespace
    metadata["creationTimestamp"] = at
    if item.labels:
        metadata["labels"] = dict(item.labels)
    return {
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": metadata,
        "timestamp": at,
        "window": f"{round(seconds, 3):g}s",
    }


def _container(before: ContainerUsage | None, last: ContainerUsage, seconds: float) -> dict[str, Any]:
    counted = before.cpu_nanos if before is not None else last.cpu_nanos
    return {"name": last.container, "usage": _usage(counted, last.cpu_nanos, last.memory_bytes, seconds)}


def _usage(before: int, after: int, memory: int, seconds: float) -> dict[str, str]:
    """Return quantities: nanoseconds of processor time a second (a counter that began anew counts from 0), and KiB."""
    used = after - before if after >= before else after
    cpu = round(used / seconds)
    return {"cpu": f"{cpu}n" if cpu else "0", "memory": f"{memory // _KIB}Ki" if memory >= _KIB else "0"}
