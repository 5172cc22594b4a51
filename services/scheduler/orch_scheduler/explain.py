"""Why a pod was not placed, counted over the nodes and worded as kube-scheduler does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from orch_scheduler.columns import Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Filter, Wake


class Refusal(msgspec.Struct, frozen=True):
    """A rule that refused `nodes` nodes for `reason`."""

    rule: str
    reason: str
    nodes: int


class Explanation(msgspec.Struct, frozen=True):
    """Why none of `nodes` nodes would do, and which changes of the cluster could help."""

    nodes: int
    refusals: tuple[Refusal, ...]
    wake: Wake

    @property
    def message(self) -> str:
        """The text of the FailedScheduling event: "0/2 nodes are available: 2 Insufficient cpu."."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        counted: Counter[str] = Counter()
        for refusal in self.refusals:
            counted[refusal.reason] += refusal.nodes
        reasons = sorted(f"{count} {reason}" for reason, count in counted.items())
        return f"0/{self.nodes} nodes are available: {', '.join(reasons)}."


def explain(snapshot: Snapshot, demand: Demand, filters: Sequence[Filter]) -> Explanation:
    """Return the explanation: each node counts for the first rule that refuses it, with all of that rule's reasons."""
    remaining = snapshot.live.copy()
    refusals: list[Refusal] = []
    wake = Wake.NODE_ADDED
    for rule in filters:
        allowed = rule.allowed(snapshot, demand)
        if allowed is None:
            continue
        refused = remaining & ~allowed
        if not refused.any():
            continue
        wake |= rule.wake
        counted = rule.reasons(snapshot, demand, np.flatnonzero(refused))
        refusals += [Refusal(rule.name, reason, count) for reason, count in counted.items()]
        remaining &= allowed
    return Explanation(int(snapshot.live.sum()), tuple(refusals), wake)
