"""What a filter is: a vectorised rule over all nodes that can say, for one node, why it refuses."""

from __future__ import annotations

from enum import Flag, auto
from typing import Protocol

from orch_scheduler.columns import Mask, Rows, Snapshot
from orch_scheduler.demand import Demand


class Wake(Flag):
    """The changes of the cluster that can turn a refusal into an acceptance (kube-scheduler's queueing hints)."""

    NODE_ADDED = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    POD_ADDED = auto()
    POD_REMOVED = auto()


class Filter(Protocol):
    """One rule. Its name is kube-scheduler's plugin name."""

    name: str
    wake: Wake

    def allowed(self, snapshot: Snapshot, demand: Demand) -> Mask | None:
        """Return the rows that satisfy the rule; None: it asks nothing of this demand."""
        ...

    def reasons(self, snapshot: Snapshot, demand: Demand, rows: Rows) -> dict[str, int]:
        """Return why rows are refused, worded as kube-scheduler does, and how many for each reason.

        Every row has one reason at least.
        """
        ...
