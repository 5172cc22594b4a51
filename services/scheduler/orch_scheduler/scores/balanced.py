"""NodeResourcesBalancedAllocation: rather a node whose resources the pod makes more evenly used."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.demand import Demand
from orch_scheduler.scores.protocol import MOST, Points, Scoring
from orch_scheduler.scores.resources import CPU_AND_MEMORY, ByRow, Part, Resource, parts
from orch_scheduler.snapshot import Snapshot

_HALF = MOST // 2


class BalancedAllocation:
    """Scores by what the pod does to the standard deviation of the used parts of the resources."""

    name = "NodeResourcesBalancedAllocation"

    def __init__(self, weight: int = 1, resources: Sequence[Resource] = CPU_AND_MEMORY) -> None:
        self.weight = weight
        self._resources = resources

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Return 75 where nothing changes, up to 100 where the pod makes even, down to 50 where it makes uneven."""
        if demand.best_effort:
            return None
        found = parts(snapshot, demand, self._resources, assumed=False)
        if not found:
            return None
        change = _evenness(found, with_pod=True) - _evenness(found, with_pod=False)

        def at(row: int) -> int:
            placed: list[float] = []
            empty: list[float] = []
            for part in found:
                used, allocatable = part.at(row)
                if allocatable:
                    placed.append(min(used / allocatable, 1.0))
                    empty.append(min((used - part.asked) / allocatable, 1.0))
            return _HALF + (_HALF + _evenness_of(placed) - _evenness_of(empty)) // 2

        return ByRow(_HALF + (_HALF + change) // 2, at)


def _evenness(found: Sequence[Part], *, with_pod: bool) -> Points:
    """Return 100 where all resources that a node has are used alike, 50 where they are as unlike as can be."""
    if len(found) == 2 and all(part.everywhere for part in found):
        left, right = (
            np.minimum((part.used + part.asked if with_pod else part.used) / part.allocatable, 1.0) for part in found
        )
        return ((1.0 - np.abs((left - right) / 2)) * MOST).astype(np.int64)
    fractions: list[NDArray[np.float64]] = []
    known: list[NDArray[np.bool_]] = []
    for part in found:
        there = part.allocatable != 0
        used = part.used + part.asked if with_pod else part.used
        fractions.append(np.minimum(used / np.where(there, part.allocatable, 1), 1.0))
        known.append(there)
    if len(found) == 2:
        deviation = np.where(known[0] & known[1], np.abs((fractions[0] - fractions[1]) / 2), 0.0)
        return ((1.0 - deviation) * MOST).astype(np.int64)
    values, there = np.stack(fractions, axis=1), np.stack(known, axis=1)
    rows = [_evenness_of(row[some].tolist()) for row, some in zip(values, there, strict=True)]
    return np.asarray(rows, np.int64)


def _evenness_of(fractions: Sequence[float]) -> int:
    if len(fractions) < 2:
        deviation = 0.0
    elif len(fractions) == 2:
        deviation = abs((fractions[0] - fractions[1]) / 2)
    else:
        mean = sum(fractions) / len(fractions)
        deviation = sqrt(sum((each - mean) * (each - mean) for each in fractions) / len(fractions))
    return int((1.0 - deviation) * MOST)
