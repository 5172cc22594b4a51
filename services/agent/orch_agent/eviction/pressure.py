"""Which thresholds are crossed, since when, and which conditions of the node follow. Pure: figures and times in.

Source: k8s.io/kubernetes/pkg/kubelet/eviction (eviction_manager.go, synchronize, and helpers.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orch_agent.eviction.thresholds import CONDITIONS, Signal, Threshold
from orch_agent.stats.model import NodeStats


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What is left of something, out of how much."""

    available: int
    capacity: int


def observe(stats: NodeStats) -> dict[Signal, Observation]:
    """Return what is left of all that can run out; what cannot be told is left out."""
    node_fs, image_fs = stats.node_fs, stats.image_fs
    found = {
        Signal.MEMORY: Observation(stats.memory_available, stats.memory_capacity),
        Signal.ALLOCATABLE_MEMORY: Observation(stats.pods_memory_available, stats.pods_memory_capacity),
        Signal.NODE_FS: Observation(node_fs.available, node_fs.capacity),
        Signal.NODE_FS_INODES: Observation(node_fs.inodes_free, node_fs.inodes),
        Signal.IMAGE_FS: Observation(image_fs.available, image_fs.capacity),
        Signal.IMAGE_FS_INODES: Observation(image_fs.inodes_free, image_fs.inodes),
        Signal.PIDS: Observation(stats.most_processes - stats.processes, stats.most_processes),
    }
    return {signal: observation for signal, observation in found.items() if observation.capacity > 0}


def is_crossed(threshold: Threshold, observed: Mapping[Signal, Observation], *, reclaiming: bool = False) -> bool:
    """Tell whether less is left than the threshold says; `reclaiming`: than what is to be won back as well."""
    observation = observed.get(threshold.signal)
    if observation is None:
        return False
    least = threshold.amount.of(observation.capacity)
    if reclaiming and threshold.reclaim is not None:
        least += threshold.reclaim.of(observation.capacity)
    return observation.available < least


class Pressure:
    """Follows the thresholds of one node from look to look. Times are of a clock that only goes forward."""

    def __init__(self, thresholds: Sequence[Threshold], transition_period: float) -> None:
        self.thresholds = thresholds
        self._transition_period = transition_period
        self._since: dict[Threshold, float] = {}
        self._observed_at: dict[str, float] = {}

    def look(self, observed: Mapping[Signal, Observation], now: float) -> list[Threshold]:
        """Take in what is left; return the thresholds that call for action, the most urgent first.

        One that was crossed stays so until its minimum has been won back; a soft one calls once its grace is over.
        """
        crossed = [each for each in self.thresholds if is_crossed(each, observed, reclaiming=each in self._since)]
        self._since = {each: self._since.get(each, now) for each in crossed}
        for each in crossed:
            self._observed_at[CONDITIONS[each.signal]] = now
        self._observed_at = {
            kind: seen
            for kind, seen in self._observed_at.items()
            if now - seen < self._transition_period or seen == now
        }
        acting = [each for each in crossed if now - self._since[each] >= each.grace]
        return sorted(acting, key=_urgency)

    def settle(self, threshold: Threshold, observed: Mapping[Signal, Observation]) -> bool:
        """Tell whether what was won back ends the need for action."""
        return not is_crossed(threshold, observed, reclaiming=True)

    @property
    def conditions(self) -> frozenset[str]:
        """The pressures that the node is under, or was a while ago."""
        return frozenset(self._observed_at)


def _urgency(threshold: Threshold) -> int:
    """Memory comes first; what nothing but the end of pods can give back comes last."""
    if CONDITIONS[threshold.signal] == "MemoryPressure":
        return 0
    return 2 if threshold.signal is Signal.PIDS else 1
