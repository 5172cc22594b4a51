"""NodeResourcesBalancedAllocation: rather a node whose cpu and memory are used to like parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.columns import Snapshot
from orch_scheduler.demand import CPU, MEMORY, Demand
from orch_scheduler.scores.protocol import Scores, shares


class BalancedAllocation:
    """Scores by the standard deviation of the used parts of cpu and memory."""

    name = "NodeResourcesBalancedAllocation"
    weight = 1.0

    def scores(self, snapshot: Snapshot, demand: Demand, rows: NDArray[np.int64]) -> Scores:
        """Return 100 where both parts are alike, 50 where one is all and the other nothing."""
        asked = np.asarray((demand.requests.get(CPU, 0), demand.requests.get(MEMORY, 0)), np.int64)
        used = shares(snapshot.requested[rows, :2], asked, snapshot.allocatable[rows, :2])
        return (1.0 - np.abs(used[:, 0] - used[:, 1]) / 2.0) * 100.0
