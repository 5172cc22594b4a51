"""Looks every few seconds at what a node has left, makes room, and ends pods one at a time when that is not enough.

First go pods that take more of the disk than they may. Then, for the most urgent threshold that is crossed, what nobody
needs (dead containers, unused images), and if that does not help, one pod. Source:
k8s.io/kubernetes/pkg/kubelet/eviction/eviction_manager.go (synchronize).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import OrchError
from orch.objects.cluster import Taint
from orch.objects.pods import Pod
from orch.objects.taints import tolerates
from orch_agent.eviction.pressure import Observation, Pressure, observe
from orch_agent.eviction.ranking import rank
from orch_agent.eviction.storage_limits import beyond_limits
from orch_agent.eviction.thresholds import RESOURCES, EvictionSettings, Signal, Threshold, thresholds_of
from orch_agent.eviction.verdict import IMMEDIATE, REASON, Eviction, node_is_low
from orch_agent.pods.allocations import Refusal, is_critical
from orch_agent.pods.host import EventType
from orch_agent.pods.resources import qos_class
from orch_agent.stats.meter import NodeMeter
from orch_agent.stats.model import NodeStats

_LOG: Final = logging.getLogger(__name__)
_EVICTIONS: Final = Counter("orch_agent_evictions_total", "Pods ended for the node's sake, by signal.", ["signal"])
_FAILURES: Final = Counter("orch_agent_eviction_failures_total", "Looks at what is left that failed.")
_LONGEST_END: Final = 30.0
_POLL: Final = 0.25
_FIRST_RETRY: Final = 1.0
_MEMORY_ALONE: Final = frozenset({"MemoryPressure"})
_MEMORY_TAINT: Final = Taint(key="node.kubernetes.io/memory-pressure", effect="NoSchedule")
_DISK: Final = frozenset({Signal.NODE_FS, Signal.NODE_FS_INODES, Signal.IMAGE_FS, Signal.IMAGE_FS_INODES})
_IMAGES: Final = frozenset({Signal.IMAGE_FS, Signal.IMAGE_FS_INODES})
_TURNS: Final[Mapping[str, tuple[str, str]]] = {
    "MemoryPressure": ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    "DiskPressure": ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
    "PIDPressure": ("NodeHasSufficientPID", "NodeHasInsufficientPID"),
}
"""The events of conditions that end and that begin."""
_LOCAL_STORAGE: Final = "ephemeral-storage.limit"


class EvictablePods(Protocol):
    """The pods of the node."""

    def active(self) -> Sequence[Pod]:
        """Return the pods that have not ended."""
        ...

    def evict(self, pod: Pod, eviction: Eviction) -> bool:
        """Begin to end a pod; False if it has ended, or is ending for another reason."""
        ...


class Reclaimer(Protocol):
    """Makes room on the disk without ending anything."""

    async def delete_dead_containers(self) -> None:
        """Remove all containers that have ended."""
        ...

    async def delete_unused_images(self) -> None:
        """Remove all images that no container uses."""
        ...


class NodeEvents(Protocol):
    """Where it is told what happens to the node."""

    def node_event(self, node: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event about the node."""
        ...


class Evictor:
    """The evictor of one node."""

    def __init__(
        self,
        node: str,
        settings: EvictionSettings,
        meter: NodeMeter,
        pods: EvictablePods,
        reclaimer: Reclaimer,
        events: NodeEvents,
        clock: Clock,
    ) -> None:
        self._node = node
        self._settings = settings
        self._meter = meter
        self._pods = pods
        self._reclaimer = reclaimer
        self._events = events
        self._clock = clock
        self._pressure = Pressure(thresholds_of(settings), settings.pressure_transition_period)

    @property
    def conditions(self) -> frozenset[str]:
        """The pressures that the node is under."""
        return self._pressure.conditions

    async def run(self) -> None:
        """Look for ever. After an eviction the next look comes as soon as the pod is gone."""
        retry = _FIRST_RETRY
        while True:
            try:
                evicted = await self.look()
                retry = _FIRST_RETRY
            except Exception as error:  # noqa: BLE001 - nothing about one pod or disk may end the agent; counted, said
                _FAILURES.inc()
                unforeseen = None if isinstance(error, OrchError) else error
                words = "what node %s has left is not known, next try in %.0f s: %s"
                _LOG.warning(words, self._node, retry, error, exc_info=unforeseen)
                await self._clock.sleep(retry)
                retry = min(retry * 2, self._settings.interval)
                continue
            if evicted:
                await self._until_ended(evicted)
            else:
                await self._clock.sleep(self._settings.interval)

    async def look(self) -> list[Pod]:
        """Look once; return the pods that are being evicted. Raises OrchError when nothing can be measured."""
        stats = await self._meter.stats(fresh=True)
        observed, before = observe(stats), self.conditions
        acting = self._pressure.look(observed, self._clock.monotonic())
        for condition in sorted(before ^ self.conditions):
            reason = _TURNS[condition][condition in self.conditions]
            self._events.node_event(self._node, "Normal", reason, f"Node {self._node} status is now: {reason}")
        pods = [pod for pod in self._pods.active() if not is_critical(pod)]
        beyond = [pod for pod in pods if self._evict_beyond_limits(pod, stats)]
        if beyond or not acting:
            return beyond
        threshold = acting[0]
        resource = RESOURCES[threshold.signal]
        self._events.node_event(self._node, "Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if await self._reclaim(threshold):
            _LOG.info("node %s has enough of %s again without ending pods", self._node, resource)
            return []
        for pod in rank(threshold.signal, pods, stats.pods, dedicated_image_fs=stats.dedicated_image_fs):
            if self._evict(pod, threshold, observed, stats):
                return [pod]
        _LOG.warning("node %s is low on %s and has no pod left to evict", self._node, resource)
        return []

    def refuses(self, pod: Pod) -> Refusal | None:
        """Return why a new pod may not run here while the node is under pressure (kubelet's Admit)."""
        conditions = self.conditions
        if not conditions or is_critical(pod):
            return None
        if conditions == _MEMORY_ALONE:
            if qos_class(pod) != "BestEffort":
                return None
            if tolerates(pod.spec.tolerations, _MEMORY_TAINT):
                return None
        return Refusal(REASON, f"The node had condition: [{' '.join(sorted(conditions))}]. ")

    def _evict_beyond_limits(self, pod: Pod, stats: NodeStats) -> bool:
        known = stats.pods.get(pod.metadata.uid)
        if known is None:
            return False
        eviction = beyond_limits(pod, known, dedicated_image_fs=stats.dedicated_image_fs)
        if eviction is None or not self._pods.evict(pod, eviction):
            return False
        _EVICTIONS.labels(_LOCAL_STORAGE).inc()
        return True

    async def _reclaim(self, threshold: Threshold) -> bool:
        """Remove what nobody needs from a disk that is full; return whether that was enough."""
        if threshold.signal not in _DISK:
            return False
        stats = await self._meter.stats()
        if stats.dedicated_image_fs and threshold.signal not in _IMAGES:
            return False
        await self._reclaimer.delete_dead_containers()
        await self._reclaimer.delete_unused_images()
        self._meter.forget_disks()
        return self._pressure.settle(threshold, observe(await self._meter.stats()))

    def _evict(self, pod: Pod, threshold: Threshold, observed: Mapping[Signal, Observation], stats: NodeStats) -> bool:
        own, most = pod.spec.termination_grace_period_seconds, self._settings.max_pod_grace_period
        grace = IMMEDIATE if threshold.is_hard else min(most, own) if own is not None else most
        eviction = node_is_low(threshold, observed.get(threshold.signal), pod, stats.pods.get(pod.metadata.uid))
        wanted = Eviction(message=eviction.message, annotations=eviction.annotations, grace=grace)
        if not self._pods.evict(pod, wanted):
            return False
        _EVICTIONS.labels(threshold.signal.value).inc()
        meta = pod.metadata
        _LOG.warning("pod %s/%s is evicted: %s", meta.namespace, meta.name, wanted.message.rstrip())
        return True

    async def _until_ended(self, pods: Sequence[Pod]) -> None:
        """Wait until pods are gone: what they used is not free before."""
        uids = {pod.metadata.uid for pod in pods}
        deadline = self._clock.monotonic() + _LONGEST_END
        while uids & {pod.metadata.uid for pod in self._pods.active()} and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL)
        self._meter.forget_disks()
