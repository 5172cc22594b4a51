"""The plan: pods in, placements out, on one snapshot.

Pods of one class are scored once over all nodes and placed off a heap: a placement changes one node, so only that node
is checked and scored again. Equal scores are decided by a fixed shuffle of the nodes, so that they share the load.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from orch_scheduler.columns import Amounts, Mask, Rows, Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.explain import Explanation, Refusal, explain
from orch_scheduler.filters.affinity import NodeAffinity
from orch_scheduler.filters.fit import NodeResourcesFit
from orch_scheduler.filters.neighbours import InterPodAffinity, concerned
from orch_scheduler.filters.protocol import Filter, Wake
from orch_scheduler.filters.taints import TaintToleration
from orch_scheduler.filters.unschedulable import NodeUnschedulable
from orch_scheduler.scores.balanced import BalancedAllocation
from orch_scheduler.scores.least_allocated import LeastAllocated
from orch_scheduler.scores.protocol import Score, Scores

FILTERS: tuple[Filter, ...] = (
    NodeUnschedulable(),
    TaintToleration(),
    NodeAffinity(),
    NodeResourcesFit(),
    InterPodAffinity(),
)
"""Every rule, in kube-scheduler's order."""

SCORES: tuple[Score, ...] = (LeastAllocated(), BalancedAllocation())
"""Every preference."""


class RuleCount(msgspec.Struct, frozen=True, gc=False):
    """A rule that refused `nodes` nodes for `reason`; `names`: the first three of them."""

    rule: str
    reason: str
    nodes: int
    names: tuple[str, ...]


class NodeScore(msgspec.Struct, frozen=True, gc=False):
    """A node's score and, by the score's name, what made it up, weighted."""

    node: str
    total: float
    parts: tuple[tuple[str, float], ...]


class Judgement(msgspec.Struct, frozen=True):
    """How a class of pods was judged when the first of a run of them was placed: shared by them all.

    `refused`: every node counts for the first rule that refuses it. `best`: the three nodes with the highest scores.
    """

    refused: tuple[RuleCount, ...] = ()
    best: tuple[NodeScore, ...] = ()


class Placement(msgspec.Struct, frozen=True, gc=False):
    """Where one pod of a plan goes; `node` is empty when `refusal` says why nowhere. `feasible`: how many would do."""

    node: str
    feasible: int = 0
    score: float = 0.0
    refusal: Explanation | None = None
    judgement: Judgement = Judgement()


class Engine:
    """Makes plans. Stateless between them but for the shuffle."""

    def __init__(self, filters: Sequence[Filter] = FILTERS, scores: Sequence[Score] = SCORES, *, seed: int = 0) -> None:
        self._filters = filters
        self._neighbourly = any(isinstance(rule, InterPodAffinity) for rule in filters)
        self._scores = scores
        self._random = np.random.default_rng(seed)
        self._shuffle: NDArray[np.int64] = np.empty(0, np.int64)

    def plan(self, snapshot: Snapshot, demands: Sequence[Demand], preferred: Sequence[str] = ()) -> list[Placement]:
        """Place pods in the given order; each placement counts for the next. The snapshot is left as it is.

        `preferred` gives for each pod the node that it goes to if that will do at all, "" for none.
        """
        if len(self._shuffle) < snapshot.size:
            self._shuffle = self._random.permutation(snapshot.size * 2)
        working = msgspec.structs.replace(
            snapshot,
            requested=snapshot.requested.copy(),
            non_zero=snapshot.non_zero.copy(),
            neighbours=snapshot.neighbours.planned(),
        )
        placements: list[Placement] = []
        start = 0
        while start < len(demands):
            nominated = self._at(working, demands[start], preferred[start]) if preferred else None
            if nominated is not None:
                placements.append(nominated)
                start += 1
                continue
            end = start + 1
            while end < len(demands) and demands[end] is demands[start] and not (preferred and preferred[end]):
                end += 1
            if self._neighbourly and concerned(working, demands[start]):
                end = start + 1  # the next of the class may be allowed on other nodes
            placements += self._place_class(working, demands[start], end - start)
            start = end
        return placements

    def _at(self, working: Snapshot, demand: Demand, node: str) -> Placement | None:
        """Place a pod on one node; None when that node will not do."""
        row = working.rows.get(node)
        vector = working.vector(demand)
        if row is None or vector is None or not working.live[row] or self.judge(working, demand, row):
            return None
        working.requested[row] += vector
        working.non_zero[row] += demand.non_zero
        working.neighbours.add(demand, row)
        return Placement(node, 1)

    def judge(self, snapshot: Snapshot, demand: Demand, row: int) -> tuple[Refusal, ...]:
        """Return every rule that refuses the node of this row, with its reasons; none: the pod may run there."""
        one = np.asarray((row,), np.int64)
        refusals: list[Refusal] = []
        for rule in self._filters:
            allowed = rule.allowed(snapshot, demand)
            if allowed is not None and not allowed[row]:
                refusals += [Refusal(rule.name, reason, 1) for reason in rule.reasons(snapshot, demand, one)]
        return tuple(refusals)

    def without(self, snapshot: Snapshot, demand: Demand, row: int, uids: Collection[str]) -> bool:
        """Return whether the pod could run on this row were those pods of the row gone."""
        return not self.judge(snapshot.less(row, uids), demand, row)

    def candidates(self, snapshot: Snapshot, demand: Demand) -> Mask:
        """Return the rows that refuse the pod, all for reasons which may vanish when pods of theirs go."""
        mask = snapshot.live.copy()
        for rule in self._filters:
            if not rule.wake & Wake.POD_REMOVED:
                allowed = rule.allowed(snapshot, demand)
                if allowed is not None:
                    mask &= allowed
        return mask & ~self._allowed(snapshot, demand)

    def short(self, snapshot: Snapshot, demand: Demand) -> Mask:
        """Return the rows to which no rule objects, but for what they have free."""
        mask = snapshot.live.copy()
        for rule in self._filters:
            if not isinstance(rule, NodeResourcesFit):
                allowed = rule.allowed(snapshot, demand)
                if allowed is not None:
                    mask &= allowed
        return mask

    def touchy(self, snapshot: Snapshot, demand: Demand) -> bool:
        """Return whether it matters to the demand who goes, and not only how much room that leaves."""
        return any(
            rule.wake & Wake.POD_REMOVED and rule.allowed(snapshot, demand) is not None
            for rule in self._filters
            if not isinstance(rule, NodeResourcesFit)
        )

    def _judgement(self, snapshot: Snapshot, demand: Demand, rows: NDArray[np.int64]) -> Judgement:
        remaining = snapshot.live.copy()
        refused: list[RuleCount] = []
        for rule in self._filters:
            allowed = rule.allowed(snapshot, demand)
            if allowed is not None and (remaining & ~allowed).any():
                failed: Rows = np.flatnonzero(remaining & ~allowed)
                names = tuple(snapshot.names[row] for row in failed[:3].tolist())
                counted = rule.reasons(snapshot, demand, failed)
                refused += [RuleCount(rule.name, reason, count, names) for reason, count in counted.items()]
                remaining &= allowed
        parts = [(score.name, score.weight * score.scores(snapshot, demand, rows)) for score in self._scores]
        totals = np.sum([values for _, values in parts], axis=0) if parts else np.zeros(len(rows))
        best = tuple(
            NodeScore(
                snapshot.names[int(rows[place])],
                float(totals[place]),
                tuple((name, float(values[place])) for name, values in parts),
            )
            for place in np.argsort(-totals, kind="stable")[:3].tolist()
        )
        return Judgement(tuple(refused), best)

    def _place_class(self, working: Snapshot, demand: Demand, count: int) -> list[Placement]:
        """Place `count` pods of one class, updating what the working snapshot has free."""
        vector = working.vector(demand)
        rows = np.flatnonzero(self._allowed(working, demand))
        judgement = self._judgement(working, demand, rows)
        placements: list[Placement] = []
        if vector is not None and len(rows):
            totals = self._totals(working, demand, rows)
            shuffle = self._shuffle[rows]
            heap = list(zip((-totals).tolist(), shuffle.tolist(), rows.tolist(), strict=True))
            heapq.heapify(heap)
            while heap and len(placements) < count:
                feasible = len(heap)
                negative, tie, row = heap[0]
                placements.append(Placement(working.names[row], feasible, -negative, None, judgement))
                working.requested[row] += vector
                working.non_zero[row] += demand.non_zero
                working.neighbours.add(demand, row)
                if self._fits(working, vector, row):
                    one = np.asarray((row,), np.int64)
                    heapq.heapreplace(heap, (-float(self._totals(working, demand, one)[0]), tie, row))
                else:
                    heapq.heappop(heap)
        if len(placements) < count:
            refused = Placement("", refusal=explain(working, demand, self._filters), judgement=judgement)
            placements += [refused] * (count - len(placements))
        return placements

    def _allowed(self, snapshot: Snapshot, demand: Demand) -> Mask:
        mask = snapshot.live
        for rule in self._filters:
            allowed = rule.allowed(snapshot, demand)
            if allowed is not None:
                mask = mask & allowed
        return mask

    def _totals(self, snapshot: Snapshot, demand: Demand, rows: NDArray[np.int64]) -> Scores:
        total = np.zeros(len(rows))
        for score in self._scores:
            total += score.weight * score.scores(snapshot, demand, rows)
        return total

    @staticmethod
    def _fits(snapshot: Snapshot, vector: Amounts, row: int) -> bool:
        """Return whether one more pod of the class has room; only what a placement changes is looked at."""
        free = snapshot.allocatable[row] - snapshot.requested[row]
        return bool(((free >= vector) | (vector == 0)).all())
