"""NodeResourcesFit's LeastAllocated strategy: rather a node with much cpu and memory to spare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.columns import Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.scores.protocol import Scores, shares


class LeastAllocated:
    """Scores the mean of the free parts of cpu and memory; containers that request nothing count with defaults."""

    name = "NodeResourcesFit"
    weight = 1.0

    def scores(self, snapshot: Snapshot, demand: Demand, rows: NDArray[np.int64]) -> Scores:
        """Return 100 for an empty node, 0 for a full one."""
        asked = np.asarray(demand.non_zero, np.int64)
        used = shares(snapshot.non_zero[rows], asked, snapshot.allocatable[rows, :2])
        return (1.0 - used).mean(axis=1) * 100.0
