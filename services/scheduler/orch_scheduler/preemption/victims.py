"""Which pods of a node have to go for a pod of higher priority, and which of several nodes it costs least.

The rules are kube-scheduler's (pkg/scheduler/framework/preemption, plugins/defaultpreemption): all pods of lower
priority are thought away; then they are given back one by one, first those whose disruption budget would be violated,
each time the most important first, as long as the pod still fits. What could not be given back are the victims.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

OFFSET: Final = 1 << 31
"""Added to each priority before they are summed up, so that more victims of negative priority do not cost less."""
NEVER: Final = 10**15
_DIGITS: Final = str.maketrans("", "", "-:T")
_MOMENT: Final = len("20260101000000")


class Occupant(msgspec.Struct, frozen=True, gc=False):
    """A pod on a node. `amounts` by column; `started` is RFC 3339, "" before it has. `going`: it leaves anyhow."""

    uid: str
    priority: int
    started: str
    amounts: tuple[int, ...]
    going: bool = False
    budgets: tuple[int, ...] = ()

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts the most important first: the highest priority, then what has run longest, then by the uid."""
        return -self.priority, moment(self.started), self.uid


class Toll(msgspec.Struct, frozen=True):
    """What room on a node costs: the victims, the most important first. `violating`: whom a budget would not let go."""

    row: int
    victims: tuple[Occupant, ...]
    violating: frozenset[str] = frozenset()

    @property
    def violations(self) -> int:
        """How many victims violate their budgets."""
        return len(self.violating)

    @property
    def cost(self) -> Cost:
        """Sorts the cheapest first: kube-scheduler's pickOneNodeForPreemption, one criterion after the other."""
        if not self.victims:
            return self.violations, -OFFSET, 0, 0, 0, self.row
        highest = self.victims[0].priority
        return (
            self.violations,
            highest,
            sum(victim.priority + OFFSET for victim in self.victims),
            len(self.victims),
            -min(moment(victim.started) for victim in self.victims if victim.priority == highest),
            self.row,
        )


Allowance = Callable[[int], int]
"""How many disruptions a budget, by its number, still allows."""

Cost = tuple[int, int, int, int, int, int]
"""Violations, the highest priority, the sum of priorities, the number of victims, the latest start, the row."""


@lru_cache(maxsize=65536)
def moment(started: str) -> int:
    """Return a number that grows with the time; what has not started, or when nobody can tell, comes last."""
    digits = started[:19].translate(_DIGITS)
    return int(digits) if len(digits) == _MOMENT and digits.isdigit() else NEVER


def toll_by_room(
    row: int,
    free: Sequence[int],
    needed: Sequence[tuple[int, int]],
    priority: int,
    occupants: Iterable[Occupant],
    allowed: Allowance,
) -> Toll | None:
    """Return what it costs to have `needed`, (column, amount), free on a node; None when no victims can bring it.

    Only amounts are looked at: for nodes that refuse the pod for nothing else.
    """
    lower = sorted((one for one in occupants if one.priority < priority or one.going), key=_rank)
    room = [free[column] - amount for column, amount in needed]
    columns = [column for column, _ in needed]
    for one in lower:
        for place, column in enumerate(columns):
            room[place] += one.amounts[column]
    if any(left < 0 for left in room):
        return None

    def spare(one: Occupant) -> bool:
        # A pod that has none of it is never in the way.
        if any(room[place] < (taken := one.amounts[column]) and taken for place, column in enumerate(columns)):
            return False
        for place, column in enumerate(columns):
            room[place] -= one.amounts[column]
        return True

    return _reprieve(row, lower, spare, allowed)


def toll_by_trial(
    row: int,
    priority: int,
    occupants: Iterable[Occupant],
    fits_without: Callable[[Collection[str]], bool],
    allowed: Allowance,
) -> Toll | None:
    """Return what it costs to have the pod fit on a node by asking, for each victim, whether it would without."""
    lower = sorted((one for one in occupants if one.priority < priority or one.going), key=_rank)
    gone = {one.uid for one in lower}
    if not lower or not fits_without(gone):
        return None

    def spare(one: Occupant) -> bool:
        gone.discard(one.uid)
        if fits_without(gone):
            return True
        gone.add(one.uid)
        return False

    return _reprieve(row, lower, spare, allowed)


def _rank(one: Occupant) -> tuple[int, int, str]:
    return one.rank


def _reprieve(row: int, lower: Sequence[Occupant], spare: Callable[[Occupant], bool], allowed: Allowance) -> Toll:
    """Give back what may stay. What goes anyhow stays gone, and is no victim."""
    violating, others = _by_budget([one for one in lower if not one.going], allowed)
    victims = [one for one in violating if not spare(one)]
    violated = frozenset(one.uid for one in victims)
    victims += [one for one in others if not spare(one)]
    return Toll(row, tuple(sorted(victims, key=_rank)), violated)


def _by_budget(lower: Sequence[Occupant], allowed: Allowance) -> tuple[list[Occupant], list[Occupant]]:
    """Tell apart the pods that one of their budgets would not let go, each of the others using its budgets up."""
    left: dict[int, int] = {}
    violating: list[Occupant] = []
    others: list[Occupant] = []
    for one in lower:
        violates = False
        for budget in one.budgets:
            left[budget] = left.get(budget, allowed(budget)) - 1
            violates |= left[budget] < 0
        (violating if violates else others).append(one)
    return violating, others
