"""PodTopologySpread: rather a node where few of the pod's group are, over each label of its ScheduleAnyway constraints.

The rules are kube-scheduler's (k8s.io/kubernetes pkg/scheduler/framework/plugins/podtopologyspread).
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.filters.spread import counted_rows
from orch_scheduler.index import Mask
from orch_scheduler.scores.protocol import MOST, Points, Scoring
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.spreading import HOSTNAME, Defaults, constraints
from orch_scheduler.terms import Spread


class PodTopologySpread:
    """Scores by the number of such pods in a node's domains; few domains weigh less than many."""

    name = "PodTopologySpread"

    def __init__(self, weight: int = 2, defaults: Defaults | None = None) -> None:
        self.weight = weight
        self._defaults = defaults or Defaults()

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Count them; the fewer, the better."""
        soft = constraints(snapshot, demand, self._defaults, hard=False)
        if not soft:
            return None
        labelled = snapshot.live
        if demand.spread or not self._defaults.system:
            for spread in soft:
                labelled = labelled & (snapshot.topologies.of(spread.key).domains[: snapshot.size] != 0)
        return _Evenness(labelled, [_Constraint(snapshot, demand, spread, labelled) for spread in soft])


class _Constraint:
    """One constraint's counts: by row for the label of hosts, by domain for all others."""

    __slots__ = ("by_row", "counts", "domains", "eligible", "labelled", "spread", "weight", "whole")

    def __init__(self, snapshot: Snapshot, demand: Demand, spread: Spread, labelled: Mask) -> None:
        topology = snapshot.topologies.of(spread.key)
        counts = snapshot.neighbours.counts(spread.group)[: snapshot.size]
        self.spread = spread
        self.domains = topology.domains[: snapshot.size]
        self.labelled: Mask = self.domains != 0
        self.whole = bool(self.labelled.all())
        self.by_row = spread.key == HOSTNAME
        self.weight = 0.0
        if self.by_row:
            self.eligible = snapshot.live
            self.counts: NDArray[np.float64] = counts.astype(np.float64)
        else:
            self.eligible = counted_rows(snapshot, demand, spread, labelled)
            here = self.domains[self.eligible]
            found = np.bincount(here, weights=counts[self.eligible], minlength=len(topology))
            self.counts = found.astype(np.float64)

    def weigh(self, scored: Mask) -> None:
        """Take over which rows are scored: the more domains they have, the more each pod counts."""
        if self.by_row:
            size = int(np.count_nonzero(scored))
        else:
            size = int(np.count_nonzero(np.bincount(self.domains[scored], minlength=1)))
        self.weight = log(size + 2)

    def place(self, row: int) -> None:
        """Count one more pod."""
        if self.spread.own and self.eligible[row]:
            self.counts[row if self.by_row else self.domains[row]] += 1

    def points(self) -> NDArray[np.float64]:
        """Return the points by row."""
        counts = self.counts if self.by_row else self.counts[self.domains]
        found: NDArray[np.float64] = counts * self.weight + (self.spread.max_skew - 1)
        return found if self.whole else np.where(self.labelled, found, 0.0)


class _Evenness(Scoring):
    __slots__ = ("_constraints", "_labelled", "_own", "_scored", "_whole")
    relative = True

    def __init__(self, labelled: Mask, found: list[_Constraint]) -> None:
        super().__init__(np.zeros(len(labelled), np.int64))
        self._labelled = labelled
        self._whole = bool(labelled.all())
        self._scored = labelled
        self._constraints = found
        self._own = any(each.spread.own for each in found)

    def placed(self, row: int) -> bool:
        """Count the pod."""
        for constraint in self._constraints:
            constraint.place(row)
        return self._own

    def normal(self, feasible: Mask, *, changed: bool) -> Points:
        """Return 100 for the fewest points, 0 for nodes that lack a label."""
        if changed:
            self._scored = feasible if self._whole else feasible & self._labelled
            for constraint in self._constraints:
                constraint.weigh(self._scored)
        total = self._constraints[0].points()
        for constraint in self._constraints[1:]:
            total = total + constraint.points()
        points = np.floor(total + 0.5).astype(np.int64)
        scored = np.where(self._scored, points, 0)
        most = int(scored.max(initial=0))
        if not most:
            return np.where(self._scored, MOST, 0)
        least = int(np.where(self._scored, points, most).min())
        worth: Points = MOST * (most + least - points) // most
        return worth if self._whole else np.where(self._scored, worth, 0)
