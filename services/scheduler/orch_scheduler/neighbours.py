"""Who is where: the classes of pods that the nodes have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orch_scheduler.demand import Demand


class Neighbours:
    """How many pods of which class the rows have. `guarded`: those classes that refuse neighbours."""

    def __init__(self, base: Neighbours | None = None) -> None:
        self._base = base
        self._rows: dict[Demand, dict[int, int]] = {}
        self._guarded: dict[Demand, None] = {}

    def add(self, demand: Demand, row: int) -> None:
        """Count one more pod."""
        rows = self._rows.setdefault(demand, {})
        rows[row] = rows.get(row, 0) + 1
        if demand.away:
            self._guarded[demand] = None

    def remove(self, demand: Demand, row: int) -> None:
        """Count one pod less."""
        rows = self._rows[demand]
        rows[row] -= 1
        if not rows[row]:
            del rows[row]
            if not rows:
                del self._rows[demand]
                self._guarded.pop(demand, None)

    def planned(self) -> Neighbours:
        """Return what can be added to without changing this one."""
        return Neighbours(self)

    def copied(self) -> Neighbours:
        """Return what can be added to and taken from without changing this one."""
        copy = Neighbours()
        for demand, rows in self.classes():
            counted = copy._rows.setdefault(demand, {})
            for row, count in rows.items():
                counted[row] = counted.get(row, 0) + count
            if demand.away:
                copy._guarded[demand] = None
        return copy

    def classes(self) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield every class with the rows that have some of it; a class may come twice."""
        if self._base is not None:
            yield from self._base.classes()
        yield from self._rows.items()

    def guarded(self) -> Iterator[tuple[Demand, Mapping[int, int]]]:
        """Yield, of the classes, those that refuse neighbours."""
        if self._base is not None:
            yield from self._base.guarded()
        for demand in self._guarded:
            yield demand, self._rows[demand]
