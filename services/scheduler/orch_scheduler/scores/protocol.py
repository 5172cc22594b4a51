"""What a score is: a preference that is applied to one class of pods and all nodes at once, in whole points.

The points are kube-scheduler's, rounded as it does: scores of 0 to 100, times a weight.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.index import Mask
from orch_scheduler.snapshot import Snapshot

MOST: Final = 100

Points = NDArray[np.int64]


class Scoring:
    """A preference as it applies to one class of pods on one snapshot. `points`: by row, before they are normalised.

    `relative`: whether the other nodes that would do decide what a node's points are worth.
    """

    __slots__ = ("points",)
    points: Points
    relative = False

    def __init__(self, points: Points) -> None:
        self.points = points

    def normal(self, feasible: Mask, *, changed: bool) -> Points:
        """Return 0 to 100 for each feasible row. `changed`: whether those are others than at the last call."""
        del feasible, changed
        return self.points

    def placed(self, row: int) -> bool:
        """Count one more pod of the class on a row; return whether other rows' points may have changed."""
        self.touched(row)
        return False

    def touched(self, row: int) -> None:
        """Take over that pods were placed on a row."""


class Relative(Scoring):
    """Points that are worth what they are of the most that a feasible node has (DefaultNormalizeScore).

    With `reverse`, fewer points are better.
    """

    __slots__ = ("_reverse",)
    relative = True

    def __init__(self, points: Points, *, reverse: bool = False) -> None:
        super().__init__(points)
        self._reverse = reverse

    def normal(self, feasible: Mask, *, changed: bool) -> Points:
        """Return the part of the most."""
        del changed
        most = int(np.where(feasible, self.points, 0).max(initial=0))
        part: Points = MOST * self.points // most if most else np.zeros_like(self.points)
        return MOST - part if self._reverse else part


class Score(Protocol):
    """One preference. Its name is kube-scheduler's plugin name; `weight` is kube-scheduler's default."""

    name: str
    weight: int

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Return what it says of a class of pods; None: it prefers no node."""
        ...
