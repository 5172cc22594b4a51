"""InterPodAffinity: rather a node near the pods that the pod prefers, and away from those that it rather is not near.

The pods that are there have preferences too; and who requires the pod's company is glad of it. The rules are
kube-scheduler's (k8s.io/kubernetes pkg/scheduler/framework/plugins/interpodaffinity).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.index import Domains, Mask
from orch_scheduler.neighbours import Counted
from orch_scheduler.scores.protocol import MOST, Points, Scoring
from orch_scheduler.snapshot import Snapshot
from orch_scheduler.terms import Hold


class InterPodAffinity:
    """Scores the weights of the terms that hold between the pod and those in a node's neighbourhoods.

    `hard_weight`: what a required term of a pod that is there counts. With `ignore_others`, what those pods prefer does
    not count unless the pod prefers something itself.
    """

    name = "InterPodAffinity"

    def __init__(self, weight: int = 2, hard_weight: int = 1, *, ignore_others: bool = False) -> None:
        self.weight = weight
        self._hard_weight = hard_weight
        self._ignore_others = ignore_others

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Add up the weights by neighbourhood."""
        sums = _Sums(snapshot)
        if not (self._ignore_others and not demand.preferences):
            for held in snapshot.neighbours.holders(demand):
                weight = self._weight_of(held.hold, held.weight)
                if weight:
                    sums.add(held.term.key, held, weight)
            for held in demand.held:
                weight = self._weight_of(held.hold, held.weight)
                if weight and held.term.group.means(demand, snapshot.namespaces):
                    sums.grow(held.term.key, weight)
        for each in demand.preferences:
            sums.add(each.term.key, each.term.group, each.weight)
            if each.term.group.means(demand, snapshot.namespaces):
                sums.grow(each.term.key, each.weight)
        return sums.scoring()

    def _weight_of(self, hold: Hold, weight: int) -> int:
        return self._hard_weight if hold is Hold.NEAR else weight


class _Sum:
    """The weights of one label's domains, and what each further pod of the class adds to its own."""

    __slots__ = ("domains", "growth", "sizes", "weights")

    def __init__(self, domains: Domains, sizes: list[int]) -> None:
        self.domains = domains
        self.sizes = sizes
        self.weights: NDArray[np.int64] = np.zeros(len(sizes), np.int64)
        self.growth = 0


class _Sums:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._sums: dict[str, _Sum] = {}

    def _of(self, key: str) -> _Sum:
        found = self._sums.get(key)
        if found is None:
            topology = self._snapshot.topologies.of(key)
            found = self._sums[key] = _Sum(topology.domains[: self._snapshot.size], topology.sizes)
        return found

    def add(self, key: str, counted: Counted, weight: int) -> None:
        """Count those who are there."""
        found = self._of(key)
        counts = self._snapshot.neighbours.counts(counted)[: self._snapshot.size]
        summed = np.bincount(found.domains, weights=counts, minlength=len(found.weights))
        found.weights += weight * summed.astype(np.int64)
        found.weights[0] = 0

    def grow(self, key: str, weight: int) -> None:
        """Say what each further pod of the class adds."""
        self._of(key).growth += weight

    def scoring(self) -> Scoring | None:
        """Return the scoring; None when nothing counts, nor ever will."""
        found = [each for each in self._sums.values() if each.growth or each.weights.any()]
        if not found:
            return None
        points = np.zeros(self._snapshot.size, np.int64)
        for each in found:
            points += each.weights[each.domains]
        return _Company(points, [each for each in found if each.growth])


class _Company(Scoring):
    __slots__ = ("_growing",)
    relative = True

    def __init__(self, points: Points, growing: list[_Sum]) -> None:
        super().__init__(points)
        self._growing = growing

    def placed(self, row: int) -> bool:
        """Add what the pod's company is worth to the next of its class."""
        for each in self._growing:
            domain = int(each.domains[row])
            if not domain:
                continue
            if each.sizes[domain] == 1:
                self.points[row] += each.growth
            else:
                self.points += each.growth * (each.domains == domain)
        return bool(self._growing)

    def normal(self, feasible: Mask, *, changed: bool) -> Points:
        """Return 0 for the least, 100 for the most."""
        del changed
        some = int(self.points[int(feasible.argmax())])
        inside: Points = np.where(feasible, self.points, some)
        least, most = int(inside.min()), int(inside.max())
        if least == most:
            return np.zeros_like(self.points)
        return (float(MOST) * ((inside - least) / float(most - least))).astype(np.int64)
