"""What the scores of resources stand on: which resources count, and how much of each a node has and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import numpy as np

from orch_scheduler.demand import CPU, EPHEMERAL_STORAGE, MEMORY, Demand
from orch_scheduler.scores.protocol import Points, Scoring
from orch_scheduler.snapshot import Amounts, Snapshot

_PLAIN: Final = frozenset({CPU, MEMORY, EPHEMERAL_STORAGE})


class Resource(msgspec.Struct, frozen=True):
    """A resource that counts, with its weight against the others."""

    name: str
    weight: int = 1


CPU_AND_MEMORY: Final = (Resource(CPU), Resource(MEMORY))


class Part:
    """One resource of the nodes: `used` and `allocatable` by row, what the pod would add, and its weight.

    `everywhere`: whether every row has some of it.
    """

    __slots__ = ("allocatable", "asked", "everywhere", "used", "weight")

    def __init__(self, used: Amounts, allocatable: Amounts, asked: int, weight: int) -> None:
        self.everywhere = bool((allocatable > 0).all())
        self.used = used
        self.allocatable = allocatable
        self.asked = asked
        self.weight = weight

    def at(self, row: int) -> tuple[int, int]:
        """Return what would be used of a row with the pod on it, and what there is."""
        return self.used.item(row) + self.asked, self.allocatable.item(row)


def parts(snapshot: Snapshot, demand: Demand, resources: Iterable[Resource], *, assumed: bool) -> list[Part]:
    """Return the resources that count for the pod: of extended ones those that it requests.

    `assumed`: whether containers that request no cpu or memory count with defaults.
    """
    found: list[Part] = []
    for resource in resources:
        name, column = resource.name, snapshot.resources.get(resource.name)
        asked = demand.requests.get(name, 0)
        if column is None or (name not in _PLAIN and not asked):
            continue
        used = snapshot.requested[:, column]
        if assumed and name in {CPU, MEMORY}:
            place = 0 if name == CPU else 1
            used, asked = snapshot.non_zero[:, place], demand.non_zero[place]
        found.append(Part(used, snapshot.allocatable[:, column], asked, resource.weight))
    return found


class ByRow(Scoring):
    """Points that a row's own resources decide. `at` gives those of one row, as the columns stand."""

    __slots__ = ("_at",)

    def __init__(self, points: Points, at: Callable[[int], int]) -> None:
        super().__init__(points)
        self._at = at

    def touched(self, row: int) -> None:
        """Look again at the row."""
        self.points[row] = self._at(row)


def safe(allocatable: Amounts) -> Amounts:
    """Return amounts that can be divided by."""
    return np.where(allocatable > 0, allocatable, 1)
