"""What a filter is: a rule that is applied to one class of pods and all nodes at once, and can say why it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Flag, auto
from typing import Protocol

import numpy as np

from orch_scheduler.demand import Demand
from orch_scheduler.index import Mask, Rows
from orch_scheduler.snapshot import Snapshot


class Wake(Flag):
    """The changes of the cluster that can turn a refusal into an acceptance (kube-scheduler's queueing hints)."""

    NODE_ADDED = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    POD_ADDED = auto()
    POD_REMOVED = auto()
    STORAGE = auto()
    NODE_REMOVED = auto()


class Ruling(ABC):
    """A rule as it applies to one class of pods on one snapshot. `allowed`: the rows that satisfy it.

    `whole`: why the pod is refused whatever the node, for rules about the pod itself. The engine tells a ruling of each
    placement, and the ruling keeps `allowed` true.
    """

    __slots__ = ("allowed", "whole")
    allowed: Mask

    def __init__(self, allowed: Mask, whole: str = "") -> None:
        self.allowed = allowed
        self.whole = whole

    def placed(self, row: int) -> bool:
        """Count one more pod of the class on a row; return whether what is allowed on other rows may have changed."""
        del row
        return False

    def touched(self, row: int) -> None:
        """Take over that pods of another class were placed on a row."""
        del row

    @abstractmethod
    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return why rows are refused, worded as kube-scheduler does; every row has one reason at least."""
        ...

    def curable(self) -> Mask | None:
        """Return the rows that might be allowed if pods of theirs were gone; None: no row."""
        return None

    def without(self, row: int, gone: Sequence[Demand]) -> bool:
        """Return whether a row would be allowed were these pods, which are on it, gone."""
        del gone
        return bool(self.allowed[row])


class Plain(Ruling):
    """A ruling that placements do not change, with one reason for every refusal."""

    __slots__ = ("_reason",)

    def __init__(self, allowed: Mask, reason: str) -> None:
        super().__init__(allowed)
        self._reason = reason

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return the reason."""
        return ((self._reason, rows),)


class Whole(Ruling):
    """A ruling that refuses the pod itself. `by_pods`: whether it might be allowed if other pods were gone."""

    __slots__ = ("_by_pods",)

    def __init__(self, size: int, reason: str, *, by_pods: bool = False) -> None:
        super().__init__(np.zeros(size, np.bool_), reason)
        self._by_pods = by_pods

    def reasons(self, rows: Rows) -> Iterable[tuple[str, Rows]]:
        """Return the reason."""
        return ((self.whole, rows),)

    def curable(self) -> Mask | None:
        """Return all rows, or none."""
        return ~self.allowed if self._by_pods else None


class Filter(Protocol):
    """One rule. Its name is kube-scheduler's plugin name."""

    name: str
    wake: Wake

    def rule(self, snapshot: Snapshot, demand: Demand) -> Ruling | None:
        """Return what it says of a class of pods; None: it asks nothing of it."""
        ...
