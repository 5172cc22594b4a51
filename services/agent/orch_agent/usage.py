"""Which samples of use are worth sending: every second while use changes, every few seconds while it does not.

Whoever reads samples takes the difference of two of them. So when use changes after some samples were held back, the
newest of those is sent first: the change is then seen at its full size, not spread over the time of silence. After a
change all samples are sent for a while, since autoscalers believe a change that lasts; after a container came or went,
for as long as it takes to know what it uses.
"""

from __future__ import annotations

from typing import Final

import msgspec

from orch_pb.v1.node_pb2 import UsageSample

_LIVELY: Final = 20.0
"""Seconds for which everything is sent after a change."""
_SETTLING: Final = 3.0
"""The same after a container came or went."""
_SHARE: Final = 0.05
_CPU_NOISE: Final = 5_000_000
"""Nanoseconds of processor time a second that say nothing: 5m."""
_MEMORY_NOISE: Final = 1 << 20
_NODE: Final = ("", "")
_NODE_TIMES: Final = 20
"""So many times more it takes for a change of the node as a whole, which nothing is scaled by."""
_NANO: Final = 1_000_000_000

_Name = tuple[str, str]


class _Use(msgspec.Struct, frozen=True):
    """What a container uses: nanoseconds of processor time a second (None: not known yet), and bytes."""

    cpu: float | None
    memory: int

    def differs(self, other: _Use, times: int) -> bool:
        """Return whether it uses more or less than another time, by so many times what counts as a change."""
        if abs(self.memory - other.memory) > times * max(_SHARE * other.memory, _MEMORY_NOISE):
            return True
        if self.cpu is None or other.cpu is None:
            return False
        return abs(self.cpu - other.cpu) > times * max(_SHARE * other.cpu, _CPU_NOISE)


class Pulse:
    """Decides about the samples of one node. `quiet` is the longest silence in seconds; `begun` spreads many nodes."""

    def __init__(self, quiet: float, begun: float) -> None:
        self._quiet = quiet
        self._sent_at = begun
        self._lively_until = begun
        self._before: tuple[int, dict[_Name, tuple[int, int]]] | None = None
        self._held: UsageSample | None = None
        self._told: dict[_Name, _Use] = {}

    def due(self, now: float) -> bool:
        """Return whether a sample is to be taken although nothing is known to move."""
        return now < self._lively_until or now - self._sent_at >= self._quiet

    def take(self, sample: UsageSample, now: float) -> list[UsageSample]:
        """Return the samples to be sent now that this one was taken."""
        uses = self._uses(sample)
        told = self._told
        changed = any(
            use.differs(told[name], _NODE_TIMES if name == _NODE else 1) for name, use in uses.items() if name in told
        )
        moved = uses.keys() != told.keys()
        if changed or moved:
            self._lively_until = max(self._lively_until, now + (_LIVELY if changed else _SETTLING))
        if not self.due(now):
            self._held = sample
            return []
        held, self._held = self._held, None
        self._told, self._sent_at = uses, now
        return [held, sample] if held is not None and (changed or moved) else [sample]

    def _uses(self, sample: UsageSample) -> dict[_Name, _Use]:
        """Return what each container, and (_NODE) the node, used since the sample before."""
        before, counters = self._before, _counters(sample)
        self._before = sample.unix_nanos, counters
        if before is None:
            return {name: _Use(None, memory) for name, (_, memory) in counters.items()}
        seconds = max((sample.unix_nanos - before[0]) / _NANO, 0.001)
        found: dict[_Name, _Use] = {}
        for name, (cpu, memory) in counters.items():
            counted = before[1].get(name)
            found[name] = _Use(max(cpu - counted[0], 0) / seconds if counted is not None else None, memory)
        return found


def _counters(sample: UsageSample) -> dict[_Name, tuple[int, int]]:
    """Return nanoseconds of processor time, and bytes of memory, of each container and the node."""
    found: dict[_Name, tuple[int, int]] = {_NODE: (sample.cpu_nanos, sample.memory_bytes)}
    for pod in sample.pods:
        uid = pod.uid
        for each in pod.containers:
            found[uid, each.container] = each.cpu_nanos, each.memory_bytes
    return found
