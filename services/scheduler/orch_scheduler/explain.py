"""How a class of pods was judged: which rule refused how many nodes for what, worded as kube-scheduler does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from orch_scheduler.filters.protocol import Filter, Ruling, Wake
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot

_NAMES = 3
"""Nodes that are named."""


class Refusal(msgspec.Struct, frozen=True):
    """A rule that refused `nodes` nodes for `reason`."""

    rule: str
    reason: str
    nodes: int


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
    """How a class of pods was judged when a plan came to it: shared by all of them, as far as they follow from it.

    `refused`: every node counts for the first rule that refuses it. `best`: the three nodes with the highest scores.
    """

    refused: tuple[RuleCount, ...] = ()
    best: tuple[NodeScore, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """Why none of `nodes` nodes would do, and which changes of the cluster could help.

    `whole` is the reason that has nothing to do with any one node, if there is one.
    """

    nodes: int
    refusals: tuple[Refusal, ...]
    wake: Wake
    whole: str = ""

    @property
    def message(self) -> str:
        """The text of the FailedScheduling event: "0/2 nodes are available: 2 Insufficient cpu."."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        if self.whole:
            return f"0/{self.nodes} nodes are available: {self.whole}."
        counted: Counter[str] = Counter()
        for refusal in self.refusals:
            counted[refusal.reason] += refusal.nodes
        reasons = sorted(f"{count} {reason}" for reason, count in counted.items())
        return f"0/{self.nodes} nodes are available: {', '.join(reasons)}."


class Verdict:
    """What every rule says of one class of pods on one snapshot."""

    __slots__ = ("_snapshot", "rulings")

    def __init__(self, snapshot: Snapshot, rulings: Sequence[tuple[Filter, Ruling]]) -> None:
        self._snapshot = snapshot
        self.rulings = rulings

    def allowed(self) -> Mask:
        """Return the rows to which no rule objects."""
        mask = self._snapshot.live
        for _, ruling in self.rulings:
            mask = mask & ruling.allowed
        return mask if self.rulings else mask.copy()

    def refused(self) -> tuple[RuleCount, ...]:
        """Return how many nodes each rule refused, and for what."""
        return tuple(
            RuleCount(rule.name, reason, len(rows), self._names(rows)) for rule, reason, rows in self._refusals()
        )

    def explanation(self) -> Explanation:
        """Return why there is no node left."""
        wake = Wake.NODE_ADDED
        refusals: list[Refusal] = []
        for rule, reason, rows in self._refusals():
            wake |= rule.wake
            refusals.append(Refusal(rule.name, reason, len(rows)))
        whole = self._whole()
        return Explanation(self._snapshot.nodes, tuple(refusals), wake, whole[1].whole if whole is not None else "")

    def objections(self, row: int) -> tuple[Refusal, ...]:
        """Return every rule that refuses one row, with all of its reasons."""
        one = np.asarray((row,), np.int64)
        return tuple(
            Refusal(rule.name, reason, 1)
            for rule, ruling in self.rulings
            if not ruling.allowed[row]
            for reason, _ in ruling.reasons(one)
        )

    def curable(self) -> Mask:
        """Return the rows that are refused, all for reasons which may vanish when pods of theirs go."""
        mask, free = self._snapshot.live, self._snapshot.live
        for _, ruling in self.rulings:
            curable = ruling.curable()
            mask = mask & (ruling.allowed if curable is None else ruling.allowed | curable)
            free = free & ruling.allowed
        return mask & ~free

    def _names(self, rows: Rows) -> tuple[str, ...]:
        first: list[int] = rows[:_NAMES].tolist()
        return tuple(self._snapshot.names[row] for row in first)

    def _whole(self) -> tuple[Filter, Ruling] | None:
        for rule, ruling in self.rulings:
            if ruling.whole:
                return rule, ruling
        return None

    def _refusals(self) -> Iterator[tuple[Filter, str, Rows]]:
        """Yield each rule with its reasons; a rule that refuses the pod itself is the only one."""
        remaining = self._snapshot.live
        whole = self._whole()
        if whole is not None:
            yield whole[0], whole[1].whole, np.flatnonzero(remaining)
            return
        for rule, ruling in self.rulings:
            refused = remaining & ~ruling.allowed
            if refused.any():
                for reason, rows in ruling.reasons(np.flatnonzero(refused)):
                    yield rule, reason, rows
                remaining = remaining & ruling.allowed
