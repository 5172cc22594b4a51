"""What a score is: a vectorised preference, and the same for a single node after a placement changed it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.columns import Amounts, Snapshot
from orch_scheduler.demand import Demand

Scores = NDArray[np.float64]


class Score(Protocol):
    """One preference. Its name is kube-scheduler's plugin name; `weight` is kube-scheduler's default."""

    name: str
    weight: float

    def scores(self, snapshot: Snapshot, demand: Demand, rows: NDArray[np.int64]) -> Scores:
        """Return 0 to 100 for each of `rows`, as the node would be with the pod on it."""
        ...


def shares(used: Amounts, asked: NDArray[np.int64], allocatable: Amounts) -> Scores:
    """Return the used part of each resource with the pod placed, 0 to 1; all of what a node does not have."""
    total = np.where(allocatable > 0, allocatable, 1)
    return np.where(allocatable > 0, np.minimum((used + asked) / total, 1.0), 1.0)
