"""TaintToleration: rather a node without PreferNoSchedule taints that the pod does not tolerate."""

from __future__ import annotations

import numpy as np

from orch.objects.taints import tolerates
from orch_scheduler.demand import Demand
from orch_scheduler.scores.protocol import MOST, Relative, Scoring
from orch_scheduler.snapshot import Snapshot


class TaintToleration:
    """Scores by the number of such taints."""

    name = "TaintToleration"

    def __init__(self, weight: int = 3) -> None:
        self.weight = weight

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Count the taints; the fewer, the better."""
        tolerations = [each for each in demand.tolerations if each.effect in {"", "PreferNoSchedule"}]
        points = np.zeros(snapshot.size, np.int64)
        any_at_all = False
        for taint in snapshot.taints:
            if taint.effect == "PreferNoSchedule" and not tolerates(tolerations, taint):
                points[snapshot.taints.rows(taint)] += 1
                any_at_all = True
        return Relative(points, reverse=True) if any_at_all else Scoring(points + MOST)
