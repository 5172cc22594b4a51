"""NodeResourcesFit: rather a node with much to spare, with little, or used as a curve says, as the profile has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.scores.protocol import MOST, Points, Scoring
from orch_scheduler.scores.resources import CPU_AND_MEMORY, ByRow, Part, Resource, parts, safe
from orch_scheduler.snapshot import Snapshot

_STEPS: Final = 10
"""The greatest score of a curve's points."""


class Point(msgspec.Struct, frozen=True):
    """A point of a curve: percent used, and a score of 0 to 10."""

    utilization: int
    score: int


class LeastAllocated:
    """The mean of what is free of each resource, in percent; containers that request nothing count with defaults."""

    name = "NodeResourcesFit"

    def __init__(self, weight: int = 1, resources: Sequence[Resource] = CPU_AND_MEMORY) -> None:
        self.weight = weight
        self._resources = resources

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Return 100 for an empty node, 0 for a full one."""
        return _mean(parts(snapshot, demand, self._resources, assumed=True), _free, _free_at)


class MostAllocated:
    """The mean of what is used of each resource, in percent: bin packing."""

    name = "NodeResourcesFit"

    def __init__(self, weight: int = 1, resources: Sequence[Resource] = CPU_AND_MEMORY) -> None:
        self.weight = weight
        self._resources = resources

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Return 0 for an empty node, 100 for a full one."""
        return _mean(parts(snapshot, demand, self._resources, assumed=True), _used, _used_at)


class RequestedToCapacityRatio:
    """The mean of a curve's values at what is used of each resource; resources for which it is 0 do not count."""

    name = "NodeResourcesFit"

    def __init__(self, shape: Sequence[Point], weight: int = 1, resources: Sequence[Resource] = CPU_AND_MEMORY) -> None:
        self.weight = weight
        self._resources = resources
        self._curve = np.asarray([_on_curve(shape, percent) for percent in range(MOST + 1)], np.int64)

    def score(self, snapshot: Snapshot, demand: Demand) -> Scoring | None:
        """Return the values."""
        found = parts(snapshot, demand, self._resources, assumed=True)
        if not found:
            return None
        curve = self._curve.tolist()
        total = np.zeros(snapshot.size, np.int64)
        weights = np.zeros(snapshot.size, np.int64)
        for part in found:
            percent = np.where(_over(part), MOST, (part.used + part.asked) * MOST // safe(part.allocatable))
            value: Points = np.where(part.allocatable != 0, self._curve[percent], 0)
            total += value * part.weight
            weights += np.where(value > 0, part.weight, 0)
        points = np.floor(total / np.maximum(weights, 1) + 0.5).astype(np.int64)

        def at(row: int) -> int:
            summed = weight = 0
            for part in found:
                used, allocatable = part.at(row)
                if allocatable:
                    over = allocatable < 0 or used > allocatable
                    value = curve[MOST if over else used * MOST // allocatable]
                    if value > 0:
                        summed += value * part.weight
                        weight += part.weight
            return int(summed / weight + 0.5) if weight else 0

        return ByRow(points, at)


def _on_curve(shape: Sequence[Point], percent: int) -> int:
    """Return the curve's value, 0 to 100, between its points in whole steps towards zero."""
    before = shape[0]
    if percent <= before.utilization:
        return before.score * MOST // _STEPS
    for point in shape[1:]:
        if percent <= point.utilization:
            start = before.score * MOST // _STEPS
            rise = (point.score * MOST // _STEPS - start) * (percent - before.utilization)
            return start + int(rise / (point.utilization - before.utilization))
        before = point
    return before.score * MOST // _STEPS


def _mean(
    found: list[Part], points_of: Callable[[Part], Points], points_at: Callable[[int, int], int]
) -> Scoring | None:
    """Return the weighted mean over the resources that a node has, rounded down."""
    if not found:
        return None
    total = np.zeros(len(found[0].used), np.int64)
    weights = np.zeros(len(total), np.int64)
    for part in found:
        total += points_of(part) * part.weight
        weights += part.weight if part.everywhere else np.where(part.allocatable != 0, part.weight, 0)

    def at(row: int) -> int:
        summed = weight = 0
        for part in found:
            used, allocatable = part.at(row)
            if allocatable:
                summed += points_at(used, allocatable) * part.weight
                weight += part.weight
        return summed // weight if weight else 0

    return ByRow(total // np.maximum(weights, 1), at)


def _over(part: Part) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return (part.used + part.asked > part.allocatable) | (part.allocatable < 0)


def _free(part: Part) -> Points:
    left = part.allocatable - part.used - part.asked
    if part.everywhere:
        return np.maximum(left, 0) * MOST // part.allocatable
    return np.where((left >= 0) & (part.allocatable > 0), left * MOST // safe(part.allocatable), 0)


def _free_at(used: int, allocatable: int) -> int:
    return (allocatable - used) * MOST // allocatable if allocatable >= max(used, 1) else 0


def _used(part: Part) -> Points:
    used = np.minimum(part.used + part.asked, part.allocatable)
    return np.where(part.allocatable > 0, used * MOST // safe(part.allocatable), 0)


def _used_at(used: int, allocatable: int) -> int:
    return min(used, allocatable) * MOST // allocatable if allocatable > 0 else 0
