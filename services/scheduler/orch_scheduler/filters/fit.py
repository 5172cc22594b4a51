"""NodeResourcesFit: what a pod requests must be free on the node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from orch_scheduler.demand import PODS, Demand
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot


class NodeResourcesFit:
    """Refuses nodes with too little of a resource that the pod requests.

    Extended resources may be ignored, by name or by the group before the slash.
    """

    name = "NodeResourcesFit"
    wake = Wake.NODE_ADDED | Wake.NODE_ALLOCATABLE | Wake.POD_REMOVED

    def __init__(self, ignored: Iterable[str] = (), ignored_groups: Iterable[str] = ()) -> None:
        self._ignored = frozenset(ignored)
        self._ignored_groups = frozenset(ignored_groups)

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes with room; a resource that is not requested may be overcommitted."""
        asked = {resource: value for resource, value in demand.requests.items() if not self._is_ignored(resource)}
        return _Room(snapshot, asked)

    def _is_ignored(self, resource: str) -> bool:
        group, slash, _ = resource.partition("/")
        return resource in self._ignored or bool(slash and group in self._ignored_groups)


class _Room(Ruling):
    __slots__ = ("_asked", "_missing", "_snapshot")

    def __init__(self, snapshot: Snapshot, asked: dict[str, int]) -> None:
        self._snapshot = snapshot
        self._asked: list[tuple[str, int, int]] = []
        self._missing: list[str] = []
        for resource, value in sorted(asked.items(), key=lambda item: (item[0] != PODS, item[0])):
            column = snapshot.resources.get(resource)
            if column is None:
                self._missing.append(resource)
            else:
                self._asked.append((resource, column, value))
        super().__init__(np.full(snapshot.size, not self._missing, np.bool_))
        for _, column, value in self._asked:
            self.allowed &= snapshot.allocatable[:, column] - snapshot.requested[:, column] >= value

    def placed(self, row: int) -> bool:
        """Look again at the one row."""
        self.touched(row)
        return False

    def touched(self, row: int) -> None:
        """Look again at the row."""
        allocatable, requested = self._snapshot.allocatable, self._snapshot.requested
        for _, column, value in self._asked:
            if allocatable.item(row, column) - requested.item(row, column) < value:
                self.allowed[row] = False
                return

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return a reason for each resource that is short: "Too many pods", then "Insufficient cpu"."""
        for resource, column, value in self._asked:
            free = self._snapshot.allocatable[rows, column] - self._snapshot.requested[rows, column]
            short = rows[free < value]
            if len(short):
                yield "Too many pods" if resource == PODS else f"Insufficient {resource}", short
        for resource in self._missing:
            yield f"Insufficient {resource}", rows

    def curable(self) -> Mask | None:
        """Return the rows that would have enough were they empty."""
        mask = np.full(self._snapshot.size, not self._missing, np.bool_)
        for resource, column, value in self._asked:
            if resource != PODS:
                mask &= self._snapshot.allocatable[:, column] >= value
        return mask

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether there would be room."""
        for resource, column, value in self._asked:
            free = self._snapshot.allocatable.item(row, column) - self._snapshot.requested.item(row, column)
            if free + sum(each.requests.get(resource, 0) for each in gone) < value:
                return False
        return not self._missing
