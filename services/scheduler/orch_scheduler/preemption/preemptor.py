"""Finds room for pods that no node would take: whom it costs least to let go, on which node.

Pods of one class that are refused together share a contest, in which nodes are ranked once. A tenth of the nodes is
looked at, as kube-scheduler does, but at least 512.
"""

from __future__ import annotations

import heapq
from collections import Counter as Tally
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import numpy as np
from prometheus_client import Counter, Histogram

from orch.clock import Clock, parse_rfc3339
from orch.objects.pods import Pod
from orch.runtime.informer import Change, Informer, Item
from orch_scheduler.columns import Columns, Mask, Rows, Snapshot
from orch_scheduler.deciders import Decider
from orch_scheduler.demand import Demand
from orch_scheduler.filters.fit import NodeResourcesFit
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.preemption.budgets import Budgets
from orch_scheduler.preemption.census import Census
from orch_scheduler.preemption.evictions import Victim
from orch_scheduler.preemption.nominations import Nomination, Nominations, is_guest
from orch_scheduler.preemption.victims import Cost, Occupant, Toll, toll_by_room, toll_by_trial
from orch_scheduler.queue import PodQueue
from orch_scheduler.waiting import Waiting

ATTEMPTS: Final = Counter("scheduler_preemption_attempts", "Pods for which room at the cost of others was looked for")
VICTIMS: Final = Histogram(
    "scheduler_preemption_victims", "Victims of one preemption", buckets=(1, 2, 4, 8, 16, 32, 64)
)

BY_NODE: Final = "node"
"""The index of pods that gives the pods of a node."""

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_AT_LEAST: Final = 512
"""Nodes that are looked at even if the profile asks for fewer: they are ranked together."""
_TRIALS: Final = 20
"""Nodes on which each victim has to be tried out, since they refuse the pod for more than resources."""
_STUCK_AFTER: Final = 60.0
"""Seconds past its grace after which a pod is not thought to be on its way out any more."""

_TOLD_WITHIN: Final = 600.0
"""Seconds within which a victim is told to go, or the eviction has failed."""

_NEVER: Final = "not eligible due to preemptionPolicy=Never."
_AWAITED: Final = "not eligible due to a terminating pod on the nominated node."


class Verdict(msgspec.Struct, frozen=True):
    """What came of it: the node and who has to go, or `message` why nobody does. `displaced` lose their nomination."""

    node: str = ""
    victims: tuple[Victim, ...] = ()
    displaced: tuple[Nomination, ...] = ()
    message: str = ""


def nodes_of(item: Item[Pod]) -> Collection[str]:
    """Index pods by the node that they are bound to."""
    return (item.object.spec.node_name,) if item.object.spec.node_name else ()


class Preemptor:
    """Decides who goes, and keeps book of who is going and who waits for that."""

    def __init__(
        self,
        columns: Columns,
        queue: PodQueue,
        nominations: Nominations,
        budgets: Budgets,
        pods: Informer[Pod],
        clock: Clock,
    ) -> None:
        self._columns = columns
        self._queue = queue
        self._nominations = nominations
        self._budgets = budgets
        self._pods = pods
        self._clock = clock
        self._going: dict[str, float] = {}  # uid → until when it is believed, in seconds since the epoch
        self._priorities: Tally[int] = Tally()
        self._contests: dict[tuple[str, Demand], _Contest] = {}
        self._amounts: dict[Demand, tuple[int, ...]] = {}
        self._used: set[int] = set()
        self.census = Census(columns, budgets, self._going)
        self._offset = 0
        pods.on_change(self._on_pod)

    def begin(self) -> None:
        """Begin a new batch: what was found out in the last one may no longer hold."""
        self._contests.clear()
        self._amounts.clear()
        self._used.clear()

    def preempt(self, decider: Decider, pod: Waiting) -> Verdict:
        """Find a node for a pod that was refused, and whom it costs. The nomination stands from then on."""
        if not pod.preempts:
            return Verdict(message=_NEVER)
        contest = self._contest(decider, pod.demand)
        if not self._may_try_again(pod, contest):
            return Verdict(message=_AWAITED)
        ATTEMPTS.inc()
        toll = contest.cheapest()
        if toll is None:
            return Verdict(message=contest.refusal)
        return self._take(pod, contest, toll)

    def undo(self, pod: Waiting, verdict: Verdict) -> None:
        """Take a verdict back of which nobody has been told: nobody goes, and nobody is displaced."""
        self._nominations.drop(pod.uid)
        for victim in verdict.victims:
            self._going.pop(victim.uid, None)
            self.census.touch(victim.node)
            self._budgets.give_back(victim.demand)
        for one in verdict.displaced:
            self._nominations.add(one.uid, one.node, one.demand, one.awaited)
        self._contests.clear()

    def forget(self, victim: Victim) -> None:
        """Take note that a victim stays, or has gone unseen: who waits for it has to be decided anew."""
        self._going.pop(victim.uid, None)
        self.census.touch(victim.node)
        self._released(victim.uid)

    def occupants(self, row: int, priority: int) -> list[Occupant]:
        """Return who is on a row. Guests of lower priority cost nothing, and neither does who leaves anyhow."""
        now = self._clock.now().timestamp()
        found: list[Occupant] = []
        for pod in self._columns.pods_on(row):
            going = pod.priority < priority if is_guest(pod.uid) else self._going.get(pod.uid, 0.0) > now
            budgets = self._budgets.of(pod.demand) if pod.priority < priority else ()
            found.append(Occupant(pod.uid, pod.priority, pod.started, self._vector(pod.demand), going, budgets))
        return found

    def lower(self, priority: int) -> bool:
        """Return whether any pod anywhere has a lower priority, or is leaving."""
        return bool(self._going) or any(count and one < priority for one, count in self._priorities.items())

    def used(self, row: int) -> bool:
        """Return whether room on a row was given away in this batch."""
        return row in self._used

    def _contest(self, decider: Decider, demand: Demand) -> _Contest:
        key = (decider.name, demand)
        found = self._contests.get(key)
        if found is None:
            with self._nominations.aside((), demand.priority):
                snapshot = self._columns.snapshot()
                found = _Contest(self, self._columns, decider, snapshot, demand, self._budgets, self._offset)
            self._contests[key] = found
            self._offset += _AT_LEAST
        return found

    def _may_try_again(self, pod: Waiting, contest: _Contest) -> bool:
        """Return whether a nominated pod may cost others their place once more (PodEligibleToPreemptOthers)."""
        nomination = self._nominations.get(pod.uid)
        if nomination is None:
            return True
        now = self._clock.now().timestamp()
        awaited = any(self._going.get(uid, 0.0) > now for uid in nomination.awaited)
        if awaited and contest.may_help(nomination.node):
            return False
        self._nominations.drop(pod.uid)
        return True

    def _take(self, pod: Waiting, contest: _Contest, toll: Toll) -> Verdict:
        node = contest.name(toll.row)
        displaced = tuple(one for one in self._nominations.on(node) if one.priority < pod.priority)
        for one in displaced:
            self._nominations.drop(one.uid)
        seen = {item.uid: item for item in self._pods.indexed(BY_NODE, node)}
        on_row = {placed.uid: placed for placed in self._columns.pods_on(toll.row)}
        until = self._clock.now().timestamp() + _TOLD_WITHIN
        victims: list[Victim] = []
        for one in toll.victims:
            demand = on_row[one.uid].demand
            item = seen.get(one.uid)
            name = item.name if item is not None else ""
            if not name and (bound := self._queue.get(one.uid)) is not None:
                name = bound.name  # its binding is under way
            victims.append(Victim(demand.namespace, name, one.uid, node, demand, pod, _unheld(item)))
            self._going[one.uid] = until
            self._budgets.take(demand)
        awaited = [one.uid for one in self.occupants(toll.row, pod.priority) if one.going]
        self._nominations.add(pod.uid, node, pod.demand, awaited)
        self._used.add(toll.row)
        self.census.touch(node)
        VICTIMS.observe(len(victims))
        return Verdict(node, tuple(victims), displaced)

    def _vector(self, demand: Demand) -> tuple[int, ...]:
        found = self._amounts.get(demand)
        if found is None:
            found = self._amounts[demand] = self._columns.amounts(demand)
        return found

    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        was, now = _on_node(old), _on_node(new)
        if was is not None:
            self._priorities[was.object.spec.priority] -= 1
        if now is not None:
            self._priorities[now.object.spec.priority] += 1
            if now.object.metadata.deletion_timestamp:
                self._going[now.uid] = _until(now.object)
                self.census.touch(now.object.spec.node_name)
        if was is not None and (now is None or now.uid != was.uid):
            self._going.pop(was.uid, None)
            self._released(was.uid)
        if old is not None and (new is None or new.object.spec.node_name or new.object.status.phase in _FINISHED):
            self._nominations.drop(old.uid)
        elif new is not None and now is None:
            self._adopt(old, new)

    def _released(self, uid: str) -> None:
        for free in self._nominations.gone(uid):
            self._queue.activate(free)

    def _adopt(self, old: Item[Pod] | None, new: Item[Pod]) -> None:
        """Take over a nomination from the pod's status: an earlier leader's, or another's."""
        before = old.object.status.nominated_node_name if old is not None else ""
        node = new.object.status.nominated_node_name
        waiting = self._queue.get(new.uid)
        if before == node or waiting is None:
            return
        known = self._nominations.get(new.uid)
        if node and known is None:
            here = [item.uid for item in self._pods.indexed(BY_NODE, node) if item.uid in self._going]
            self._nominations.add(new.uid, node, waiting.demand, here)
        elif not node and known is not None and known.node == before:
            self._nominations.drop(new.uid)


class _Contest:
    """The nodes that could make room for pods of one class, the cheapest first.

    Nodes that lack nothing but room are ranked together; of the others, which refuse the pod for who is on them, a few
    are tried out pod by pod. A node's exact toll is computed when its turn comes, as its pods are then.
    """

    def __init__(
        self,
        preemptor: Preemptor,
        columns: Columns,
        decider: Decider,
        snapshot: Snapshot,
        demand: Demand,
        budgets: Budgets,
        offset: int,
    ) -> None:
        self._preemptor = preemptor
        self._columns = columns
        self._decider = decider
        self._snapshot = snapshot
        self._demand = demand
        self._budgets = budgets
        verdict = decider.engine.verdict(snapshot, demand)
        self._candidates = verdict.curable()
        others = [(rule, ruling) for rule, ruling in verdict.rulings if not isinstance(rule, NodeResourcesFit)]
        self._short = self._candidates.copy()
        for _, ruling in others:
            self._short &= ruling.allowed
        self._touchy = any(rule.wake & Wake.POD_REMOVED for rule, _ in others)
        self._verdict = verdict
        self._needed = columns.needed(demand)
        self._ranked: list[Cost] = []
        self._next = 0
        self._heap: list[tuple[Cost, int, Toll]] = []
        if self._needed is not None and preemptor.lower(demand.priority):
            self._open(self._needed, offset)

    @property
    def refusal(self) -> str:
        """Why no victims were found, in kube-scheduler's words."""
        nodes = int(self._snapshot.live.sum())
        hopeful = int(self._candidates.sum())
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

    def _open(self, needed: Sequence[tuple[int, int]], offset: int) -> None:
        enough = max(_AT_LEAST, self._decider.enough(self._snapshot.size))
        rows = _from(self._short, offset)[:enough]
        self._ranked = self._preemptor.census.rank(rows, needed, self._demand.priority) if len(rows) else []
        if len(rows) < enough:
            for row in _from(self._candidates & ~self._short, offset)[:_TRIALS].tolist():
                toll = self._toll(row)
                if toll is not None:
                    heapq.heappush(self._heap, (toll.cost, row, toll))

    def _toll(self, row: int) -> Toll | None:
        priority = self._demand.priority
        occupants = self._preemptor.occupants(row, priority)
        if self._short[row] and self._needed is not None:
            free = self._columns.free(row)
            toll = toll_by_room(row, free, self._needed, priority, occupants, self._budgets.allowed)
            if toll is None or not self._touchy:
                return toll
            gone = {one.uid for one in occupants if one.going} | {one.uid for one in toll.victims}
            return toll if self._fits_without(row, gone) else None
        return toll_by_trial(
            row, priority, occupants, lambda gone: self._fits_without(row, gone), self._budgets.allowed
        )

    def _fits_without(self, row: int, gone: Collection[str]) -> bool:
        if self._preemptor.used(row):  # a guest came to it meanwhile
            return self._decider.engine.without(self._columns.snapshot(), self._demand, row, gone)
        leaving = [pod.demand for pod in self._columns.pods_on(row) if pod.uid in gone and not is_guest(pod.uid)]
        return all(ruling.without(row, leaving) for _, ruling in self._verdict.rulings)


_NO_VICTIMS: Final = "No preemption victims found for incoming pod"


def _from(mask: Mask, offset: int) -> Rows:
    """Return the rows of a mask, beginning at some place so that not always the same ones are looked at."""
    rows = np.flatnonzero(mask)
    if len(rows) <= _AT_LEAST:
        return rows
    return np.roll(rows, -(offset % len(rows)))


def _on_node(item: Item[Pod] | None) -> Item[Pod] | None:
    if item is None or not item.object.spec.node_name or item.object.status.phase in _FINISHED:
        return None
    return item


def _unheld(item: Item[Pod] | None) -> bool:
    """Return whether a pod is gone as soon as it is told to go."""
    if item is None:
        return False
    pod = item.object
    return pod.spec.termination_grace_period_seconds == 0 and not pod.metadata.finalizers


def _until(pod: Pod) -> float:
    """Return up to when a pod that was told to go is believed to; its deletion's time has the grace in it."""
    try:
        return parse_rfc3339(pod.metadata.deletion_timestamp).timestamp() + _STUCK_AFTER
    except ValueError:
        return 0.0
