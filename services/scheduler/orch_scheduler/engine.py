"""The plan: pods in, placements out, on one snapshot.

Pods of one class are judged once over all nodes; from then on each placement changes only what depends on it. A class
that comes again later in the plan goes on where it was, unless the pods in between were its concern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from orch_scheduler.contest import Contest, verdict
from orch_scheduler.demand import Demand
from orch_scheduler.explain import Explanation, Judgement, NodeScore, Refusal, RuleCount, Verdict
from orch_scheduler.filters.affinity import NodeAffinity
from orch_scheduler.filters.fit import NodeResourcesFit
from orch_scheduler.filters.named_nodes import NamedNodes
from orch_scheduler.filters.neighbours import InterPodAffinity
from orch_scheduler.filters.node_name import NodeName
from orch_scheduler.filters.ports import NodePorts
from orch_scheduler.filters.protocol import Filter
from orch_scheduler.filters.spread import PodTopologySpread
from orch_scheduler.filters.taints import TaintToleration
from orch_scheduler.filters.unschedulable import NodeUnschedulable
from orch_scheduler.filters.volume_binding import VolumeBinding
from orch_scheduler.filters.volume_limits import NodeVolumeLimits
from orch_scheduler.filters.volume_restrictions import VolumeRestrictions
from orch_scheduler.filters.volume_zone import VolumeZone
from orch_scheduler.index import Mask
from orch_scheduler.scores import affinity, balanced, fit, images, neighbours, spread, taints
from orch_scheduler.scores.protocol import Score
from orch_scheduler.snapshot import Snapshot

__all__ = ["FILTERS", "SCORES", "Engine", "Explanation", "Judgement", "NodeScore", "Placement", "Refusal", "RuleCount"]

FILTERS: Final[tuple[Filter, ...]] = (
    NamedNodes(),
    NodeUnschedulable(),
    NodeName(),
    TaintToleration(),
    NodeAffinity(),
    NodePorts(),
    NodeResourcesFit(),
    VolumeRestrictions(),
    NodeVolumeLimits(),
    VolumeBinding(),
    VolumeZone(),
    PodTopologySpread(),
    InterPodAffinity(),
)
"""Every rule, in kube-scheduler's order."""

SCORES: Final[tuple[Score, ...]] = (
    taints.TaintToleration(),
    affinity.NodeAffinity(),
    fit.LeastAllocated(),
    spread.PodTopologySpread(),
    neighbours.InterPodAffinity(),
    balanced.BalancedAllocation(),
    images.ImageLocality(),
)
"""Every preference, with kube-scheduler's weights."""

_KEPT: Final = 32
"""Classes of a plan that can go on where they were."""


class Placement(msgspec.Struct, frozen=True, gc=False):
    """Where one pod of a plan goes; `node` is empty when `refusal` says why nowhere. `feasible`: how many would do."""

    node: str
    feasible: int = 0
    score: float = 0.0
    refusal: Explanation | None = None
    judgement: Judgement = Judgement()


class Engine:
    """Makes plans: equal snapshots, demands and seeds give equal plans."""

    def __init__(self, filters: Sequence[Filter] = FILTERS, scores: Sequence[Score] = SCORES, *, seed: int = 0) -> None:
        self.filters = tuple(filters)
        self.scores = tuple(scores)
        self.seed = seed
        self._last: tuple[Snapshot, Demand, Verdict] | None = None

    def plan(self, snapshot: Snapshot, demands: Sequence[Demand], preferred: Sequence[str] = ()) -> list[Placement]:
        """Place pods in the given order; each placement counts for the next. The snapshot is left as it is.

        `preferred` gives for each pod the node that it goes to if that will do at all, "" for none.
        """
        plan = _Plan(self, snapshot.planned(), Counter(demands))
        placements: list[Placement] = []
        start = 0
        while start < len(demands):
            demand = demands[start]
            if preferred and preferred[start]:
                nominated = plan.at(demand, preferred[start])
                if nominated is not None:
                    placements.append(nominated)
                    start += 1
                    continue
            end = start + 1
            while end < len(demands) and demands[end] is demand and not (preferred and preferred[end]):
                end += 1
            placements += plan.run(demand, end - start)
            start = end
        return placements

    def contest(self, snapshot: Snapshot, demand: Demand) -> Contest:
        """Return the nodes as a class of pods sees them."""
        return Contest(snapshot, demand, self.filters, self.scores, self.seed)

    def verdict(self, snapshot: Snapshot, demand: Demand) -> Verdict:
        """Return what the rules say of a class of pods; the last one is remembered while the snapshot is the same."""
        last = self._last
        if last is not None and last[0] is snapshot and last[1] is demand:
            return last[2]
        found = verdict(snapshot, demand, self.filters)
        self._last = (snapshot, demand, found)
        return found

    def judge(self, snapshot: Snapshot, demand: Demand, row: int) -> tuple[Refusal, ...]:
        """Return every rule that refuses the node of this row, with its reasons; none: the pod may run there."""
        return self.verdict(snapshot, demand).objections(row)

    def scored(self, snapshot: Snapshot, demand: Demand) -> list[NodeScore]:
        """Return the scores of all nodes that would do, the best first."""
        return self.contest(snapshot, demand).ranking()

    def without(self, snapshot: Snapshot, demand: Demand, row: int, uids: Collection[str]) -> bool:
        """Return whether the pod could run on this row were those pods of the row gone."""
        gone = [pod.demand for pod in snapshot.pods_on(row) if pod.uid in uids]
        return all(ruling.without(row, gone) for _, ruling in self.verdict(snapshot, demand).rulings)

    def candidates(self, snapshot: Snapshot, demand: Demand) -> Mask:
        """Return the rows that refuse the pod, all for reasons which may vanish when pods of theirs go."""
        return self.verdict(snapshot, demand).curable()

    def short(self, snapshot: Snapshot, demand: Demand) -> Mask:
        """Return the rows to which no rule objects, but for what they have free."""
        mask = snapshot.live.copy()
        for rule, ruling in self.verdict(snapshot, demand).rulings:
            if not isinstance(rule, NodeResourcesFit):
                mask &= ruling.allowed
        return mask


class _Plan:
    """A plan in the making: what was placed, and the classes that may come again."""

    def __init__(self, engine: Engine, working: Snapshot, left: Counter[Demand]) -> None:
        self._engine = engine
        self._working = working
        self._left = left
        self._placed: list[tuple[Demand, int]] = []
        self._contests: dict[Demand, tuple[Contest, int]] = {}

    def at(self, demand: Demand, node: str) -> Placement | None:
        """Place a pod on one node; None when that node will not do."""
        row = self._working.rows.get(node)
        if row is None or not self._working.live[row]:
            return None
        if verdict(self._working, demand, self._engine.filters).objections(row):
            return None
        self._working.count(demand, row)
        self._placed.append((demand, row))
        self._left[demand] -= 1
        return Placement(node, 1)

    def run(self, demand: Demand, count: int) -> list[Placement]:
        """Place `count` pods of one class."""
        contest = self._contest(demand)
        judgement = contest.judgement()
        working, names = self._working, self._working.names
        vector = working.vector(demand)
        placements: list[Placement] = []
        rows: dict[int, int] = {}
        while len(placements) < count:
            row, score = contest.best()
            if row < 0:
                break
            placements.append(Placement(names[row], contest.feasible, float(score), None, judgement))
            if vector is not None:
                working.requested[row] += vector
            working.non_zero[row] += demand.non_zero
            rows[row] = rows.get(row, 0) + 1
            contest.place(row)
        for row, placed in rows.items():
            working.neighbours.add(demand, row, placed)
            self._placed.append((demand, row))
        if len(placements) < count:
            left = contest.verdict  # as it is with those that were placed before
            refused = Placement("", refusal=left.explanation(), judgement=Judgement(left.refused()))
            placements += [refused] * (count - len(placements))
        self._left[demand] -= count
        if self._left[demand] and len(self._contests) < _KEPT:
            self._contests[demand] = (contest, len(self._placed))
        return placements

    def _contest(self, demand: Demand) -> Contest:
        """Return the class's contest, as far as it was or from the beginning."""
        found = self._contests.pop(demand, None)
        if found is not None:
            contest, seen = found
            between = self._placed[seen:]
            if not any(contest.minds(other) for other in dict.fromkeys(other for other, _ in between)):
                for row in dict.fromkeys(row for _, row in between):
                    contest.touch(row)
                return contest
        return self._engine.contest(self._working, demand)
