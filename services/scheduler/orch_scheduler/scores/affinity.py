"""NodeAffinity: rather a node that the pod's preferred node affinity selects, or that of the profile."""

from __future__ import annotations

import numpy as np

from orch.objects.pods import PreferredSchedulingTerm
from orch_scheduler.demand import Demand
from orch_scheduler.filters.affinity import term_mask
from orch_scheduler.scores.protocol import Relative, Scoring
from orch_scheduler.snapshot import Snapshot


class NodeAffinity:
    """Scores the sum of the weights of the preferences that a node meets."""

    name = "NodeAffinity"

    def __init__(self, weight: int = 2, added: tuple[PreferredSchedulingTerm, ...] = ()) -> None:
        self.weight = weight
        self._added = added

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Add up the weights."""
        preferred = (*self._added, *demand.preferred)
        if not preferred:
            return None
        points = np.zeros(snapshot.size, np.int64)
        for each in preferred:
            points[term_mask(snapshot, each.preference)] += each.weight
        return Relative(points)
