"""NodeVolumeLimits: a node attaches no more volumes of a driver than the driver says it can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.index import Mask, Rows
from orch_scheduler.neighbours import Planned
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.storage import Attached


class NodeVolumeLimits:
    """Refuses nodes where the pod's volumes, as far as they are not there yet, would be too many."""

    name = "NodeVolumeLimits"
    wake = Wake.NODE_ADDED | Wake.POD_REMOVED | Wake.STORAGE

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes that can attach them."""
        if not demand.claims or not snapshot.storage.limits:
            return None
        wanted = snapshot.storage.attachments(demand.namespace, (claim.name for claim in demand.claims))
        drivers = sorted({driver for driver, _ in wanted})
        limited = [driver for driver in drivers if any(driver in limits for limits in snapshot.storage.limits.values())]
        return _Limits(snapshot, wanted, limited) if limited else None


class _Limits(Ruling):
    __slots__ = ("_limits", "_snapshot", "_wanted")

    def __init__(self, snapshot: Snapshot, wanted: frozenset[Attached], drivers: Sequence[str]) -> None:
        super().__init__(np.ones(snapshot.size, np.bool_))
        self._snapshot = snapshot
        self._wanted = wanted
        self._limits: dict[str, NDArray[np.int64]] = {}
        for driver in drivers:
            limits = self._limits[driver] = np.full(snapshot.size, np.iinfo(np.int64).max)
            for node, counts in snapshot.storage.limits.items():
                row = snapshot.rows.get(node)
                if row is not None and driver in counts:
                    limits[row] = counts[driver]
            more = sum(each == driver for each, _ in wanted)
            self.allowed &= snapshot.storage.used(driver, snapshot.size) + more <= limits
        for row in self._special():
            self.allowed[row] = self._fits(row, snapshot.storage.attached(row) | self._planned(row))

    def _special(self) -> Iterable[int]:
        """Return the rows that have one of the volumes already, or on which the plan has placed pods with claims."""
        storage = self._snapshot.storage
        rows = dict.fromkeys(
            row for row in np.flatnonzero(~self.allowed).tolist() if storage.attached(row) & self._wanted
        )
        if isinstance(self._snapshot.neighbours, Planned):
            for demand, placed in self._snapshot.neighbours.changes():
                if demand.claims:
                    rows.update(dict.fromkeys(placed))
        return rows

    def _planned(self, row: int) -> frozenset[Attached]:
        neighbours = self._snapshot.neighbours
        found: frozenset[Attached] = frozenset()
        if isinstance(neighbours, Planned):
            for demand, rows in neighbours.changes():
                if demand.claims and rows.get(row, 0) > 0:
                    names = (claim.name for claim in demand.claims)
                    found |= self._snapshot.storage.attachments(demand.namespace, names)
        return found

    def _fits(self, row: int, attached: frozenset[Attached]) -> bool:
        together = attached | self._wanted
        return all(
            sum(each == driver for each, _ in together) <= int(limits[row]) for driver, limits in self._limits.items()
        )

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return kube-scheduler's words."""
        return (("node(s) exceed max volume count", rows),)

    def curable(self) -> Mask | None:
        """Return all rows: pods can go, and their volumes with them."""
        return np.ones_like(self.allowed)

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether there would be few enough, were the volumes gone that nobody else on the row uses."""
        left = list(self._snapshot.pods_on(row))
        for demand in gone:
            place = next((place for place, pod in enumerate(left) if pod.demand is demand), None)
            if place is not None:
                del left[place]
        found: frozenset[Attached] = frozenset()
        for pod in left:
            if pod.demand.claims:
                names = (claim.name for claim in pod.demand.claims)
                found |= self._snapshot.storage.attachments(pod.demand.namespace, names)
        return self._fits(row, found | self._planned(row))
