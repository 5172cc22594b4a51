"""One class of pods and all nodes: who would do, who scores highest, and what each placement changes of that.

Every node has a key: its score, below that how few pods it has, and below that a number which looks random, made of its
name and the seed. The highest key wins. A placement changes its own node's key; only rules and scores that look at
other nodes are computed for all again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import PODS, Demand
from orch_scheduler.explain import Judgement, NodeScore, Verdict
from orch_scheduler.filters.protocol import Filter, Ruling
from orch_scheduler.index import Mask
from orch_scheduler.scores.protocol import Points, Score, Scoring
from orch_scheduler.snapshot import Snapshot

_TIE_BITS: Final = 42
_MARK_BITS: Final = 30
_MOST_PODS: Final = (1 << (_TIE_BITS - _MARK_BITS)) - 1
_WORD: Final = (1 << 64) - 1
_MIX: Final = 0xD6E8FEB86659FD93
"""An odd number whose multiples look random."""
_BEST: Final = 3

MOST_WEIGHT: Final = 10_000
"""What the weights of all scores may come to: a total fits into a key beside what tells equals apart."""


class Contest:
    """The nodes as one class of pods sees them. `feasible`: how many would do."""

    __slots__ = (
        "_constant",
        "_feasible",
        "_judgement",
        "_key",
        "_marks",
        "_minded",
        "_moving",
        "_own",
        "_relative",
        "_snapshot",
        "_tie",
        "_verdict",
        "_worth",
        "demand",
        "feasible",
        "scorings",
    )

    def __init__(
        self, snapshot: Snapshot, demand: Demand, filters: Sequence[Filter], scores: Sequence[Score], seed: int
    ) -> None:
        self.demand = demand
        self._snapshot = snapshot
        self._verdict = verdict(snapshot, demand, filters)
        self._moving = tuple(ruling for _, ruling in self._verdict.rulings)
        self._feasible = self._verdict.allowed()
        self.feasible = int(np.count_nonzero(self._feasible))
        self.scorings: list[tuple[Score, Scoring]] = []
        self._minded: dict[Demand, bool] = {}
        self._judgement: Judgement | None = None
        self._own: list[tuple[int, Scoring]] = []
        self._relative: list[tuple[int, Scoring]] = []
        self._worth: list[Points] = []
        self._constant = np.zeros(snapshot.size, np.int64)
        if self.feasible:
            self._score(scores)
        mixed = (snapshot.marks + np.uint64(seed * _MIX & _WORD)) * np.uint64(_MIX)
        self._marks = (mixed >> np.uint64(64 - _MARK_BITS)).astype(np.int64)
        pods = np.clip(snapshot.requested[:, snapshot.resources[PODS]], 0, _MOST_PODS)
        self._tie = ((_MOST_PODS - pods) << _MARK_BITS) | self._marks
        self._key = self._keys()

    def best(self) -> tuple[int, int]:
        """Return the row with the highest key and its score; -1 when no row would do."""
        if not self.feasible:
            return -1, 0
        row = int(self._key.argmax())
        return row, self._key.item(row) >> _TIE_BITS

    def place(self, row: int) -> None:
        """Take over that a pod of the class was placed on a row and counted in the snapshot."""
        widely = False
        for ruling in self._moving:
            widely |= ruling.placed(row)
        moved = False
        for _, scoring in self._own:
            scoring.touched(row)
        for _, scoring in self._relative:
            moved |= scoring.placed(row)
        if widely:
            self._feasible = self._verdict.allowed()
            self.feasible = int(np.count_nonzero(self._feasible))
        self._settle(row, widely=widely, moved=moved)

    def touch(self, row: int) -> None:
        """Take over that pods of another class, which is no concern of this one, were placed on a row."""
        for ruling in self._moving:
            ruling.touched(row)
        for _, scoring in self._own:
            scoring.touched(row)
        self._settle(row, widely=False, moved=False)

    def minds(self, other: Demand) -> bool:
        """Return whether it may matter to the class where pods of another class are, beyond the room that they take."""
        known = self._minded.get(other)
        if known is None:
            known = self._minded[other] = self._minds(other)
        return known

    def _minds(self, other: Demand) -> bool:
        mine, namespaces = self.demand, self._snapshot.namespaces
        if mine.claims and other.claims:
            return True
        if any(port.conflicts(taken) for port in mine.ports for taken in other.ports):
            return True
        groups = [held.term.group for held in mine.held] + [spread.group for spread in mine.spread]
        owner = self._snapshot.workloads.group(mine)
        if owner is not None:
            groups.append(owner)
        if any(group.means(other, namespaces) for group in groups):
            return True
        return any(held.term.group.means(mine, namespaces) for held in other.held)

    def judgement(self) -> Judgement:
        """Return how the class was judged when this was first asked."""
        if self._judgement is None:
            self._judgement = Judgement(self._verdict.refused(), tuple(self._node_scores(_BEST)))
        return self._judgement

    def ranking(self) -> list[NodeScore]:
        """Return the scores of all nodes that would do, the best first."""
        return self._node_scores(self.feasible)

    @property
    def verdict(self) -> Verdict:
        """What the rules say."""
        return self._verdict

    def _score(self, scores: Sequence[Score]) -> None:
        snapshot = self._snapshot
        for score in scores:
            scoring = score.score(snapshot, self.demand)
            if scoring is None:
                continue
            self.scorings.append((score, scoring))
            if scoring.relative:
                self._relative.append((score.weight, scoring))
                self._worth.append(score.weight * scoring.normal(self._feasible, changed=True))
            else:
                self._own.append((score.weight, scoring))
                self._constant += score.weight * scoring.points

    def _keys(self) -> NDArray[np.int64]:
        total = self._constant
        for worth in self._worth:
            total = total + worth
        return np.where(self._feasible, (total << _TIE_BITS) | self._tie, -1)

    def _settle(self, row: int, *, widely: bool, moved: bool) -> None:
        """Bring the keys up to date: that of one row, or all when others may have changed."""
        fits = all(ruling.allowed[row] for ruling in self._moving) and bool(self._snapshot.live[row])
        left = bool(self._feasible[row]) and not fits
        if left:
            self._feasible[row] = False
            self.feasible -= 1
        pods = min(max(self._snapshot.requested.item(row, self._snapshot.resources[PODS]), 0), _MOST_PODS)
        self._tie[row] = ((_MOST_PODS - pods) << _MARK_BITS) | self._marks.item(row)
        own = 0
        for weight, scoring in self._own:
            own += weight * scoring.points.item(row)
        self._constant[row] = own
        if self._relative and (widely or moved or left):
            for place, (weight, scoring) in enumerate(self._relative):
                self._worth[place] = weight * scoring.normal(self._feasible, changed=widely or left)
            self._key = self._keys()
        elif widely:
            self._key = self._keys()
        elif left:
            self._key[row] = -1
        elif fits:
            for worth in self._worth:
                own += worth.item(row)
            self._key[row] = (own << _TIE_BITS) | self._tie.item(row)

    def _node_scores(self, most: int) -> list[NodeScore]:
        found: list[NodeScore] = []
        if not self.feasible:
            return found
        parts = [(score.name, score.weight * _normal(scoring, self._feasible)) for score, scoring in self.scorings]
        if most > _BEST:
            rows: list[int] = np.argsort(-self._key, kind="stable")[:most].tolist()
        else:
            rows = _highest(self._key, min(most, self.feasible))
        for row in rows:
            shares = tuple((name, float(points[row])) for name, points in parts)
            found.append(NodeScore(self._snapshot.names[row], float(self._key.item(row) >> _TIE_BITS), shares))
        return found


def verdict(snapshot: Snapshot, demand: Demand, filters: Sequence[Filter]) -> Verdict:
    """Return what all rules say of a class of pods."""
    rulings: list[tuple[Filter, Ruling]] = []
    for rule in filters:
        ruling = rule.rule(snapshot, demand)
        if ruling is not None:
            rulings.append((rule, ruling))
    return Verdict(snapshot, rulings)


def _normal(scoring: Scoring, feasible: Mask) -> Points:
    return scoring.normal(feasible, changed=False)


def _highest(keys: NDArray[np.int64], count: int) -> list[int]:
    """Return the rows with the highest keys, the highest first."""
    left = keys.copy()
    rows: list[int] = []
    for _ in range(count):
        row = int(left.argmax())
        rows.append(row)
        left[row] = -1
    return rows
