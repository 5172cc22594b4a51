"""NodePorts: the ports of the node that a pod takes must be free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Ruling, Wake
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot


class NodePorts:
    """Refuses nodes with a pod that has one of the ports, by address and protocol."""

    name = "NodePorts"
    wake = Wake.NODE_ADDED | Wake.POD_REMOVED

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Allow the nodes on which every port is free."""
        return _Ports(snapshot, demand) if demand.ports else None


class _Ports(Ruling):
    __slots__ = ("_taken",)

    def __init__(self, snapshot: Snapshot, demand: Demand) -> None:
        super().__init__(np.ones(snapshot.size, np.bool_))
        self._taken: list[tuple[Demand, Mapping[int, int]]] = []
        for number in dict.fromkeys(port.number for port in demand.ports):
            for other, rows in snapshot.neighbours.takers(number):
                if any(port.conflicts(taken) for port in demand.ports for taken in other.ports):
                    self._taken.append((other, rows))
                    self.allowed[np.fromiter(rows, np.int64, len(rows))] = False

    def placed(self, row: int) -> bool:
        """Refuse the row: the pod has the ports now, which the next of its class would need."""
        self.allowed[row] = False
        return False

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return kube-scheduler's words."""
        return (("node(s) didn't have free ports for the requested pod ports", rows),)

    def curable(self) -> Mask | None:
        """Pods can go, and their ports with them."""
        return ~self.allowed

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether all who have a port there would be gone."""
        return all(rows.get(row, 0) <= sum(each is other for each in gone) for other, rows in self._taken)
