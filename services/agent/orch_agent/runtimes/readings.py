"""What containers use, read each second from their control groups: the most frequent work of a node with many.

Of a container whose processes did nothing since it was last looked at nothing more is read than that. But memory is
also taken from those that do nothing, so now and then each is looked at closely.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from orch.clock import Clock
from orch_agent.runtimes.cgroups import GroupUse, Hierarchy
from orch_agent.runtimes.protocol import Identity, Usage

_CLOSELY: Final = 10.0
"""Seconds after which a container is looked at closely, whether it did something or not."""


class Measured(msgspec.Struct, frozen=True):
    """A running container, and the control group that it is in."""

    id: str
    identity: Identity
    group: str


class _Reading(msgspec.Struct, frozen=True):
    read_at: float
    group: GroupUse
    usage: Usage


class Readings:
    """The readings of one node's containers. A usage that has not changed is the very object of the last time."""

    def __init__(self, hierarchy: Hierarchy, clock: Clock) -> None:
        self._hierarchy = hierarchy
        self._clock = clock
        self._known: dict[str, _Reading] = {}

    def take(self, running: Iterable[Measured]) -> list[Usage]:
        """Return what containers use, those left out whose group is not there. Blocks; to be called in a thread."""
        now = self._clock.monotonic()
        found: dict[str, _Reading] = {}
        for container in running:
            reading = self._read(container, now)
            if reading is not None:
                found[container.id] = reading
        self._known = found
        return [reading.usage for reading in found.values()]

    def _read(self, container: Measured, now: float) -> _Reading | None:
        known = self._known.get(container.id)
        before = known.group if known is not None and now - known.read_at < _CLOSELY else None
        used = self._hierarchy.use(container.group, before)
        if used is None:
            return None
        if known is not None and used is before:
            return known
        memory = used.memory
        usage = Usage(
            container.identity,
            used.cpu_nanos,
            memory.working_set,
            container.id,
            memory,
            used.processes,
            used.throttling,
        )
        return _Reading(now, used, known.usage if known is not None and known.usage == usage else usage)
