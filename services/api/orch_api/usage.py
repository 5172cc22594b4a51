"""What nodes say of their use of processors and memory, as metrics.k8s.io shows it: for `kubectl top` and autoscalers.

Samples come on the bus (stream METRICS) and are kept as they came, the last two of each node: processor time is
counted up, so that its use is the difference between two samples. They are read only when somebody asks.
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
from orch_pb.v1.node_pb2 import ContainerUsage, UsageSample

_STALE: Final = 60.0
"""Seconds after which a node's last sample says nothing any more."""

_NANOS: Final = 1_000_000_000
_KIB: Final = 1024


class Usage:
    """The samples of all nodes, and what they come to."""

    def __init__(self, bus: Bus, cache: ObjectCache, clock: Clock) -> None:
        self._bus = bus
        self._cache = cache
        self._clock = clock
        self._samples: dict[str, tuple[bytes, bytes]] = {}

    async def run(self) -> None:
        """Follow the samples for ever. Raises what ends the bus's stream."""
        async for message in self._bus.follow(subjects.METRICS.name, [subjects.METRICS_OF_ALL]):
            if isinstance(message, Message):
                _, before = self._samples.get(message.subject, (b"", b""))
                self._samples[message.subject] = (before, message.data)

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

    def _pairs(self) -> Iterator[tuple[UsageSample, UsageSample, float]]:
        """Yield what each node said before, what it said last, and the seconds between."""
        now = self._clock.now().timestamp()
        for subject, (earlier, later) in list(self._samples.items()):
            if not earlier:
                continue
            before, last = UsageSample.FromString(earlier), UsageSample.FromString(later)
            if now - last.unix_nanos / _NANOS > _STALE:
                del self._samples[subject]
            elif (seconds := (last.unix_nanos - before.unix_nanos) / _NANOS) > 0:
                yield before, last, seconds

    def _nodes(self) -> Iterator[tuple[Cached, dict[str, Any]]]:
        for before, last, seconds in self._pairs():
            node = self._cache.get(ObjectKey("", "nodes", "", last.node))
            if node is not None:
                usage = _usage(before.cpu_nanos, last.cpu_nanos, last.memory_bytes, seconds)
                yield node, {**_head("NodeMetrics", node, last, seconds), "usage": usage}

    def _pods(self, namespace: str) -> Iterator[tuple[Cached, dict[str, Any]]]:
        for before, last, seconds in self._pairs():
            known = {pod.uid: {one.container: one for one in pod.containers} for pod in before.pods}
            for pod in last.pods:
                if namespace and pod.namespace != namespace:
                    continue
                item = self._cache.get(ObjectKey("", "pods", pod.namespace, pod.name))
                if item is None or item.uid != pod.uid or not pod.containers:
                    continue
                earlier = known.get(pod.uid, {})
                containers = [_container(earlier.get(one.container), one, seconds) for one in pod.containers]
                yield item, {**_head("PodMetrics", item, last, seconds), "containers": containers}


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
