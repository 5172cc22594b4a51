"""Which samples of use are worth sending: every second while use changes, every few seconds while it does not.

Whoever reads samples takes the difference of two of them. So when use changes after some samples were held back, the
newest of those is sent first: the change is then seen at its full size, not spread over the time of silence. After a
change all samples are sent for a while, since autoscalers believe a change that lasts.
"""

from __future__ import annotations

from typing import Final

import msgspec

from orch_pb.v1.node_pb2 import UsageSample

_LIVELY: Final = 20.0
"""Seconds for which everything is sent after a change."""
_SHARE: Final = 0.05
_CPU_NOISE: Final = 5_000_000
"""Nanoseconds of processor time a second that say nothing: 5m."""
_MEMORY_NOISE: Final = 1 << 20
_NANO: Final = 1_000_000_000

_Name = tuple[str, str]


class _Use(msgspec.Struct, frozen=True):
    """What a container uses: nanoseconds of processor time a second, and bytes."""

    cpu: float
    memory: int

    def differs(self, other: _Use) -> bool:
        cpu, memory = abs(self.cpu - other.cpu), abs(self.memory - other.memory)
        return cpu > max(_SHARE * other.cpu, _CPU_NOISE) or memory > max(_SHARE * other.memory, _MEMORY_NOISE)


class Pulse:
    """Decides about the samples of one node. `quiet` is the longest silence in seconds; `begun` spreads many nodes."""

    def __init__(self, quiet: float, begun: float) -> None:
        self._quiet = quiet
        self._sent_at = begun
        self._lively_until = begun
        self._before: UsageSample | None = None
        self._held: UsageSample | None = None
        self._told: dict[_Name, _Use] = {}

    def due(self, now: float) -> bool:
        """Return whether a sample is to be taken although nothing is known to move."""
        return now < self._lively_until or now - self._sent_at >= self._quiet

    def take(self, sample: UsageSample, now: float) -> list[UsageSample]:
        """Return the samples to be sent now that this one was taken."""
        before, self._before = self._before, sample
        uses = _uses(before, sample)
        changed = uses.keys() != self._told.keys() or any(use.differs(self._told[name]) for name, use in uses.items())
        if changed:
            self._lively_until = now + _LIVELY
        if not self.due(now):
            self._held = sample
            return []
        held, self._held = self._held, None
        self._told, self._sent_at = uses, now
        return [held, sample] if held is not None and changed else [sample]


def _uses(before: UsageSample | None, sample: UsageSample) -> dict[_Name, _Use]:
    """Return what each container, and under ("", "") the node, used between two samples."""
    seconds = max((sample.unix_nanos - before.unix_nanos) / _NANO, 0.001) if before is not None else 0.0
    known = {} if before is None else dict(_counters(before))
    found: dict[_Name, _Use] = {}
    for name, (cpu, memory) in _counters(sample):
        counted = known.get(name)
        found[name] = _Use(max(cpu - counted[0], 0) / seconds if counted is not None else 0.0, memory)
    return found


def _counters(sample: UsageSample) -> list[tuple[_Name, tuple[int, int]]]:
    counters = [
        ((pod.uid, each.container), (each.cpu_nanos, each.memory_bytes))
        for pod in sample.pods
        for each in pod.containers
    ]
    return [(("", ""), (sample.cpu_nanos, sample.memory_bytes)), *counters]
