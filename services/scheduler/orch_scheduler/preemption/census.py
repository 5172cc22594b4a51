"""Who is on the nodes, as arrays: what room on each of many nodes would cost, computed for all of them at once.

One row a node, one place a pod, the most important first; a row is taken anew from the columns when its pods have
changed. It ranks nodes for preemption; the toll of the one that is chosen is then computed by `victims` pod by pod.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orch_scheduler.columns import Columns, Rows
from orch_scheduler.disruptions import Budgets
from orch_scheduler.preemption.nominations import is_guest
from orch_scheduler.preemption.victims import NEVER, OFFSET, Cost, moment

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_HIGHEST: Final = 1 << 40
"""The priority of a place without a pod: nothing preempts it."""
_FIRST_PLACES: Final = 16
_NO_BUDGET: Final = -1


class Census:
    """The pods of all rows that were asked for. `going`: the uids of pods that leave."""

    def __init__(self, columns: Columns, budgets: Budgets, going: Container[str]) -> None:
        self._columns = columns
        self._budgets = budgets
        self._going = going
        self._versions: dict[int, int] = {}
        self._generation = budgets.generation
        self._make(0, _FIRST_PLACES, 0)

    def touch(self, node: str) -> None:
        """Take a node anew when it is asked for next: one of its pods began to leave, or stays after all."""
        row = self._columns.row_of(node)
        if row is not None:
            self._versions.pop(row, None)

    def rank(self, rows: Rows, needed: Sequence[tuple[int, int]], priority: int) -> list[Cost]:
        """Return what room for a pod of that priority costs on those of the rows that can have it, cheapest first."""
        self._refresh(rows)
        columns = np.asarray([column for column, _ in needed], np.int64)
        asked = np.asarray([amount for _, amount in needed], np.int64)
        used = int((self._priority[rows] < _HIGHEST).sum(axis=1).max(initial=0))
        where = np.ix_(rows, np.arange(used))
        priorities, started = self._priority[where], self._started[where]
        amounts = self._amounts[np.ix_(rows, np.arange(used), columns)]
        lower = priorities < priority
        going = np.where(self._guest[where], lower, self._going_now[where])
        room = self._columns.free_of(rows)[:, columns] - asked
        room += (amounts * (lower | going)[:, :, None]).sum(axis=1)
        able = (room >= 0).all(axis=1)
        mortal = lower & ~going & able[:, None]
        violating = self._violating(self._budget[where], mortal)
        victims = np.zeros_like(mortal)
        for turn in (violating, mortal & ~violating):
            for place in np.flatnonzero(turn.any(axis=0)).tolist():
                taken = amounts[:, place]
                spared = turn[:, place] & ((room >= taken) | (taken == 0)).all(axis=1)
                room[spared] -= taken[spared]
                victims[:, place] = np.where(turn[:, place], ~spared, victims[:, place])
        return _costs(rows[able], victims[able], violating[able], priorities[able], started[able])

    def _violating(self, budget: Numbers, mortal: Flags) -> Flags:
        """Return the places whose pod its budget would not let go, each more important one using it up."""
        violating = np.zeros_like(mortal)
        # A set, since np.unique imports a good part of NumPy when it is first called: in the middle of a batch.
        for number in set[int](budget[mortal & (budget != _NO_BUDGET)].tolist()):
            members = mortal & (budget == number)
            violating |= members & (members.cumsum(axis=1) > self._budgets.allowed(number))
        return violating

    def _refresh(self, rows: Rows) -> None:
        if self._generation != self._budgets.generation:
            self._generation = self._budgets.generation
            self._versions.clear()
        version, known = self._columns.version, self._versions
        for row in rows.tolist():
            now = version(row)
            if known.get(row) != now:
                self._take(row)
                known[row] = now

    def _take(self, row: int) -> None:
        pods = sorted(self._columns.pods_on(row), key=lambda pod: (-pod.priority, moment(pod.started), pod.uid))
        width = self._columns.width
        if row >= len(self._priority) or len(pods) > self._priority.shape[1] or width > self._amounts.shape[2]:
            self._grow(row + 1, len(pods), width)
        self._priority[row] = _HIGHEST
        if not pods:
            return
        here = slice(0, len(pods))
        amounts = self._columns.amounts
        self._priority[row, here] = [pod.priority for pod in pods]
        self._started[row, here] = [moment(pod.started) for pod in pods]
        self._amounts[row, here] = [amounts(pod.demand) for pod in pods]
        self._guest[row, here] = [is_guest(pod.uid) for pod in pods]
        self._going_now[row, here] = [pod.uid in self._going for pod in pods]
        budgets: Callable[..., tuple[int, ...]] = self._budgets.of
        self._budget[row, here] = [(budgets(pod.demand) or (_NO_BUDGET,))[0] for pod in pods]

    def _make(self, rows: int, places: int, width: int) -> None:
        self._priority: Numbers = np.full((rows, places), _HIGHEST, np.int64)
        self._started: Numbers = np.full((rows, places), NEVER, np.int64)
        self._amounts: Numbers = np.zeros((rows, places, width), np.int64)
        self._guest: Flags = np.zeros((rows, places), np.bool_)
        self._going_now: Flags = np.zeros((rows, places), np.bool_)
        self._budget: Numbers = np.full((rows, places), _NO_BUDGET, np.int64)

    def _grow(self, rows: int, places: int, width: int) -> None:
        """Make room; what was known is kept where it is."""
        old = (self._priority, self._started, self._amounts, self._guest, self._going_now, self._budget)
        had_rows, had_places = self._priority.shape
        had_width = self._amounts.shape[2]
        more_rows = rows if rows <= had_rows else max(rows, 2 * had_rows, 64)
        self._make(
            max(had_rows, more_rows),
            max(had_places, places + places // 2 * (places > had_places)),
            max(had_width, width),
        )
        new = (self._priority, self._started, self._amounts, self._guest, self._going_now, self._budget)
        for before, after in zip(old, new, strict=True):
            if before.ndim == 3:
                after[:had_rows, :had_places, :had_width] = before
            else:
                after[:had_rows, :had_places] = before


def _costs(rows: Rows, victims: Flags, violating: Flags, priorities: Numbers, started: Numbers) -> list[Cost]:
    """Return the rows' costs as `Toll.cost` has them, sorted."""
    count = victims.sum(axis=1)
    none = count == 0
    highest = np.where(none, -OFFSET, np.where(victims, priorities, -OFFSET).max(axis=1, initial=-OFFSET))
    total = np.where(victims, priorities + OFFSET, 0).sum(axis=1)
    of_highest = victims & (priorities == highest[:, None])
    earliest = np.where(of_highest, started, NEVER).min(axis=1, initial=NEVER)
    latest = np.where(none, 0, -earliest)
    violations = (victims & violating).sum(axis=1)
    order = np.lexsort((rows, latest, count, total, highest, violations))
    columns = (violations, highest, total, count, latest, rows)
    return list(zip(*(column[order].tolist() for column in columns), strict=True))
