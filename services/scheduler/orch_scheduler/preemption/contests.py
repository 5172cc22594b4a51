"""Contests of nodes for pods that no node would take: which node it costs least to make room on.

Nothing here depends on anything but the columns, and what is passed in: so that replay can hold the contests again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from orch_pb.v1.decision_pb2 import Candidate, Preemption
from orch_pb.v1.decision_pb2 import Victim as VictimRecord
from orch_scheduler.columns import Columns, Mask, Rows
from orch_scheduler.demand import Demand
from orch_scheduler.engine import Engine
from orch_scheduler.filters.fit import NodeResourcesFit
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.preemption.census import Census
from orch_scheduler.preemption.nominations import is_guest
from orch_scheduler.preemption.victims import Cost, Occupant, Toll, toll_by_room, toll_by_trial
from orch_scheduler.records import Asked

AT_LEAST: Final = 512
"""Nodes that are looked at even if the profile asks for fewer: they are ranked together."""
_TRIALS: Final = 20
"""Nodes on which each victim has to be tried out, since they refuse the pod for more than resources."""
_SHOWN: Final = 3
"""Nodes of which a record tells what they cost, the chosen one among them."""

Names = Callable[[str, Collection[str]], Mapping[str, str]]
"""Returns the names of some of a node's pods, by uid: the columns do not know them, and nothing is decided by them."""

Key = tuple[str, Demand]
"""A profile's name and a class of pods."""


class Look(msgspec.Struct, frozen=True):
    """How a contest is opened: how many nodes are looked at, beginning where, and whether any pod could go at all."""

    enough: int
    offset: int
    hopeful: bool


class Contests:
    """The contests of a batch. `now`: seconds since 1970, to be set before anything is asked."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.census = Census(columns, columns.budgets, columns.departures)
        self.now = 0.0
        self._open: dict[Key, Contest] = {}
        self._amounts: dict[Demand, tuple[int, ...]] = {}
        self._used: set[int] = set()

    def begin(self) -> None:
        """Begin a new batch: what was found out in the last one may no longer hold."""
        self.close()
        self._amounts.clear()
        self._used.clear()

    def close(self) -> None:
        """Forget the contests, but not what room was given away."""
        self._open.clear()

    def get(self, profile: str, demand: Demand) -> Contest | None:
        """Return the contest of a class of pods, if there is one."""
        return self._open.get((profile, demand))

    def open(self, profile: str, demand: Demand, engine: Engine, look: Look) -> Contest:
        """Look at the nodes as they are now, and return the contest."""
        made = self._open[profile, demand] = Contest(self, engine, demand, look)
        return made

    def decide(self, contest: Contest, pod: Asked, revision: int, names: Names) -> tuple[Toll | None, bytes]:
        """Return the cheapest room for one pod of the class, and the record of that; its row counts as used then."""
        toll = contest.cheapest()
        record = Preemption(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            revision=revision,
            priority=contest.priority,
            candidates=contest.candidates,
        )
        if toll is None:
            record.refusal = contest.refusal
            return None, record.SerializeToString()
        self._used.add(toll.row)
        record.node = contest.name(toll.row)
        record.violations = toll.violations
        record.best.append(_candidate(record.node, toll.cost))
        record.best.extend(_candidate(contest.name(row), cost) for row, cost in contest.next_best(toll.row))
        if toll.victims:
            called = names(record.node, [one.uid for one in toll.victims])
            record.victims.extend(self._victims(toll, called))
        return toll, record.SerializeToString()

    def _victims(self, toll: Toll, names: Mapping[str, str]) -> list[VictimRecord]:
        spaces = {placed.uid: placed.demand.namespace for placed in self.columns.pods_on(toll.row)}
        budget = self.columns.budgets.name_of
        return [
            VictimRecord(
                namespace=spaces[one.uid],
                name=names[one.uid],
                uid=one.uid,
                priority=one.priority,
                budgets=["/".join(budget(number)) for number in one.budgets],
                violates=one.uid in toll.violating,
            )
            for one in toll.victims
        ]

    def occupants(self, row: int, priority: int) -> list[Occupant]:
        """Return who is on a row. Guests of lower priority cost nothing, and neither does who leaves anyhow."""
        departures, budgets_of = self.columns.departures, self.columns.budgets.of
        found: list[Occupant] = []
        for pod in self.columns.pods_on(row):
            going = pod.priority < priority if is_guest(pod.uid) else departures.leaves(pod.uid, self.now)
            budgets = budgets_of(pod.demand) if pod.priority < priority else ()
            found.append(Occupant(pod.uid, pod.priority, pod.started, self._vector(pod.demand), going, budgets))
        return found

    def used(self, row: int) -> bool:
        """Return whether room on a row was given away in this batch."""
        return row in self._used

    def _vector(self, demand: Demand) -> tuple[int, ...]:
        found = self._amounts.get(demand)
        if found is None:
            found = self._amounts[demand] = self.columns.amounts(demand)
        return found


def _candidate(node: str, cost: Cost) -> Candidate:
    violations, highest, total, victims, latest, _ = cost
    return Candidate(node=node, violations=violations, highest=highest, sum=total, victims=victims, latest=latest)


class Contest:
    """The nodes that could make room for pods of one class, the cheapest first.

    Nodes that lack nothing but room are ranked together; of the others, which refuse the pod for who is on them, a few
    are tried out pod by pod. A node's exact toll is computed when its turn comes, as its pods are then.
    """

    def __init__(
        self,
        contests: Contests,
        engine: Engine,
        demand: Demand,
        look: Look,
    ) -> None:
        columns = contests.columns
        snapshot = columns.snapshot()
        self._contests = contests
        self._columns = columns
        self._engine = engine
        self._snapshot = snapshot
        self._demand = demand
        verdict = engine.verdict(snapshot, demand)
        self._candidates = verdict.curable()
        others = [(rule, ruling) for rule, ruling in verdict.rulings if not isinstance(rule, NodeResourcesFit)]
        self._short = self._candidates.copy()
        for _, ruling in others:
            self._short &= ruling.allowed
        self._touchy = any(rule.wake & Wake.POD_REMOVED for rule, _ in others)
        self.candidates = int(self._candidates.sum())
        """How many nodes could make room."""
        self.priority = demand.priority
        self._verdict = verdict
        self._needed = columns.needed(demand)
        self._ranked: list[Cost] = []
        self._next = 0
        self._heap: list[tuple[Cost, int, Toll]] = []
        if self._needed is not None and look.hopeful:
            self._open(self._needed, look)

    @property
    def refusal(self) -> str:
        """Why no victims were found, in kube-scheduler's words."""
        nodes = int(self._snapshot.live.sum())
        hopeful = self.candidates
        counted = ((nodes - hopeful, "Preemption is not helpful for scheduling"), (hopeful, _NO_VICTIMS))
        reasons = sorted(f"{count} {reason}" for count, reason in counted if count)
        return f"0/{nodes} nodes are available: {', '.join(reasons)}."

    def name(self, row: int) -> str:
        """Return a row's node."""
        return self._snapshot.names[row]

    def may_help(self, node: str) -> bool:
        """Return whether the node would do once others have gone from it."""
        row = self._snapshot.rows.get(node)
        return row is not None and row < len(self._candidates) and bool(self._candidates[row])

    def cheapest(self) -> Toll | None:
        """Return the lowest toll that holds now, None when there is none. The row comes up again, behind its equals."""
        while True:
            ranked = self._ranked[self._next] if self._next < len(self._ranked) else None
            top = self._heap[0] if self._heap else None
            if ranked is not None and (top is None or ranked <= top[0]):
                self._next += 1
                believed, row = ranked, ranked[-1]
            elif top is not None:
                heapq.heappop(self._heap)
                believed, row = top[0], top[-1].row
            else:
                return None
            toll = self._toll(row)
            if toll is None:
                continue
            again = (*toll.cost[:-1], row + self._snapshot.size)
            if toll.cost[:-1] <= believed[:-1]:
                heapq.heappush(self._heap, (again, row, toll))
                return toll
            heapq.heappush(self._heap, (toll.cost, row, toll))

    def next_best(self, chosen: int) -> list[tuple[int, Cost]]:
        """Return the rows that come after the chosen one, as they were when they were last looked at."""
        coming = [(cost, cost[-1]) for cost in self._ranked[self._next : self._next + _SHOWN]]
        # The smallest of a heap are at its beginning: the k-th is among the first 2^k - 1.
        coming += [(cost, row) for cost, row, _ in self._heap[: 2**_SHOWN - 1]]
        others = sorted(one for one in coming if one[1] != chosen)
        return [(row, cost) for cost, row in others[: _SHOWN - 1]]

    def _open(self, needed: Sequence[tuple[int, int]], look: Look) -> None:
        enough, offset = max(AT_LEAST, look.enough), look.offset
        rows = _from(self._short, offset)[:enough]
        self._ranked = self._contests.census.rank(rows, needed, self._demand.priority) if len(rows) else []
        if len(rows) < enough:
            for row in _from(self._candidates & ~self._short, offset)[:_TRIALS].tolist():
                toll = self._toll(row)
                if toll is not None:
                    heapq.heappush(self._heap, (toll.cost, row, toll))

    def _toll(self, row: int) -> Toll | None:
        priority = self._demand.priority
        occupants = self._contests.occupants(row, priority)
        if self._short[row] and self._needed is not None:
            free = self._columns.free(row)
            toll = toll_by_room(row, free, self._needed, priority, occupants, self._columns.budgets.allowed)
            if toll is None or not self._touchy:
                return toll
            gone = {one.uid for one in occupants if one.going} | {one.uid for one in toll.victims}
            return toll if self._fits_without(row, gone) else None
        return toll_by_trial(
            row, priority, occupants, lambda gone: self._fits_without(row, gone), self._columns.budgets.allowed
        )

    def _fits_without(self, row: int, gone: Collection[str]) -> bool:
        if self._contests.used(row):  # a guest came to it meanwhile
            return self._engine.without(self._columns.snapshot(), self._demand, row, gone)
        leaving = [pod.demand for pod in self._columns.pods_on(row) if pod.uid in gone and not is_guest(pod.uid)]
        return all(ruling.without(row, leaving) for _, ruling in self._verdict.rulings)


_NO_VICTIMS: Final = "No preemption victims found for incoming pod"


def _from(mask: Mask, offset: int) -> Rows:
    """Return the rows of a mask, beginning at some place so that not always the same ones are looked at."""
    rows = np.flatnonzero(mask)
    if len(rows) <= AT_LEAST:
        return rows
    return np.roll(rows, -(offset % len(rows)))
