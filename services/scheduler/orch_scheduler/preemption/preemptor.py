"""Finds room for pods that no node would take: whom it costs least to let go, on which node.

Pods of one class that are refused together share a contest, in which nodes are ranked once. A tenth of the nodes is
looked at, as kube-scheduler does, but at least 512.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection
from typing import Final

import msgspec
from prometheus_client import Counter, Histogram

from orch.clock import Clock, parse_rfc3339
from orch.objects.pods import Pod
from orch.runtime.informer import Change, Informer, Item
from orch_scheduler.columns import Columns
from orch_scheduler.deciders import Decider
from orch_scheduler.demand import Demand
from orch_scheduler.preemption.contests import AT_LEAST, Contest, Contests, Look
from orch_scheduler.preemption.evictions import Victim
from orch_scheduler.preemption.nominations import Nomination, Nominations
from orch_scheduler.preemption.recorder import Recorder
from orch_scheduler.preemption.victims import Toll
from orch_scheduler.queue import PodQueue
from orch_scheduler.records import Asked
from orch_scheduler.waiting import Waiting

ATTEMPTS: Final = Counter("scheduler_preemption_attempts", "Pods for which room at the cost of others was looked for")
VICTIMS: Final = Histogram(
    "scheduler_preemption_victims", "Victims of one preemption", buckets=(1, 2, 4, 8, 16, 32, 64)
)

BY_NODE: Final = "node"
"""The index of pods that gives the pods of a node."""

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_STUCK_AFTER: Final = 60.0
"""Seconds past its grace after which a pod is not thought to be on its way out any more."""

_TOLD_WITHIN: Final = 600.0
"""Seconds within which a victim is told to go, or the eviction has failed."""

_NEVER: Final = "not eligible due to preemptionPolicy=Never."
_AWAITED: Final = "not eligible due to a terminating pod on the nominated node."


class Verdict(msgspec.Struct, frozen=True):
    """What came of it: the node and who has to go, or `message` why nobody does. `displaced` lose their nomination.

    `record`: the Preemption as protobuf, empty when nobody was looked for.
    """

    node: str = ""
    victims: tuple[Victim, ...] = ()
    displaced: tuple[Nomination, ...] = ()
    message: str = ""
    record: bytes = b""


def nodes_of(item: Item[Pod]) -> Collection[str]:
    """Index pods by the node that they are bound to."""
    return (item.object.spec.node_name,) if item.object.spec.node_name else ()


class _Called:
    """What the pods of the node that was chosen are called."""

    def __init__(self, pods: Informer[Pod], queue: PodQueue) -> None:
        self._pods = pods
        self._queue = queue
        self.items: dict[str, Item[Pod]] = {}
        self.names: dict[str, str] = {}

    def look(self, node: str, uids: Collection[str]) -> dict[str, str]:
        """Return the names of pods; one whose binding is under way is known to the queue alone."""
        self.items = {item.uid: item for item in self._pods.indexed(BY_NODE, node)}
        for uid in uids:
            known = self.items.get(uid) or self._queue.get(uid)
            self.names[uid] = known.name if known is not None else ""
        return self.names


class Preemptor:
    """Decides who goes, and keeps book of who is going and who waits for that."""

    def __init__(
        self,
        columns: Columns,
        queue: PodQueue,
        nominations: Nominations,
        pods: Informer[Pod],
        clock: Clock,
        recorder: Recorder | None = None,
    ) -> None:
        self._columns = columns
        self._queue = queue
        self._nominations = nominations
        self._budgets = columns.budgets
        self._pods = pods
        self._clock = clock
        self._recorder = recorder
        self._going = columns.departures
        self._priorities: Tally[int] = Tally()
        self._contests = Contests(columns)
        self.census = self._contests.census
        self._offset = 0
        pods.on_change(self._on_pod)

    def begin(self) -> None:
        """Begin a new batch: what was found out in the last one may no longer hold."""
        self._contests.begin()
        if self._recorder is not None:
            self._recorder.began()

    def preempt(self, decider: Decider, pod: Waiting) -> Verdict:
        """Find a node for a pod that was refused, and whom it costs. The nomination stands from then on."""
        if not pod.preempts:
            return Verdict(message=_NEVER)
        if self._recorder is not None and self._recorder.stale:
            self.begin()  # what is replayed from a checkpoint on knows no contest of before
        self._contests.now = self._clock.now().timestamp()
        contest = self._contest(decider, pod.demand)
        if not self._may_try_again(pod, contest):
            return Verdict(message=_AWAITED)
        ATTEMPTS.inc()
        revision = self._columns.revision
        asked, called = Asked(pod.namespace, pod.name, pod.uid), _Called(self._pods, self._queue)
        toll, record = self._contests.decide(contest, asked, revision, called.look)
        if self._recorder is not None:
            self._recorder.decided(decider.name, pod.demand, self._contests.now, revision, record)
        if toll is None:
            return Verdict(message=contest.refusal, record=record)
        return self._take(pod, contest, toll, record, called)

    def undo(self, pod: Waiting, verdict: Verdict) -> None:
        """Take a verdict back of which nobody has been told: nobody goes, and nobody is displaced."""
        self._nominations.drop(pod.uid)
        for victim in verdict.victims:
            self._going.set(victim.uid, None)
            self.census.touch(victim.node)
            self._budgets.give_back(victim.demand)
        for one in verdict.displaced:
            self._nominations.add(one.uid, one.node, one.demand, one.awaited)
        self.begin()

    def forget(self, victim: Victim) -> None:
        """Take note that a victim stays, or has gone unseen: who waits for it has to be decided anew."""
        self._going.set(victim.uid, None)
        self.census.touch(victim.node)
        self._released(victim.uid)

    def lower(self, priority: int) -> bool:
        """Return whether any pod anywhere has a lower priority, or is leaving."""
        return bool(self._going) or any(count and one < priority for one, count in self._priorities.items())

    def _contest(self, decider: Decider, demand: Demand) -> Contest:
        found = self._contests.get(decider.name, demand)
        if found is None:
            enough = decider.enough(self._columns.rows)
            look = Look(enough, self._offset, self.lower(demand.priority))
            with self._nominations.aside((), demand.priority):
                if self._recorder is not None:
                    self._recorder.opened(decider.name, decider.engine.seed, demand, look, self._contests.now)
                found = self._contests.open(decider.name, demand, decider.engine, look)
            self._offset += AT_LEAST
        return found

    def _may_try_again(self, pod: Waiting, contest: Contest) -> bool:
        """Return whether a nominated pod may cost others their place once more (PodEligibleToPreemptOthers)."""
        nomination = self._nominations.get(pod.uid)
        if nomination is None:
            return True
        now = self._clock.now().timestamp()
        awaited = any(self._going.leaves(uid, now) for uid in nomination.awaited)
        if awaited and contest.may_help(nomination.node):
            return False
        self._nominations.drop(pod.uid)
        return True

    def _take(self, pod: Waiting, contest: Contest, toll: Toll, record: bytes, called: _Called) -> Verdict:
        node = contest.name(toll.row)
        displaced = tuple(one for one in self._nominations.on(node) if one.priority < pod.priority)
        for one in displaced:
            self._nominations.drop(one.uid)
        on_row = {placed.uid: placed for placed in self._columns.pods_on(toll.row)}
        until = self._clock.now().timestamp() + _TOLD_WITHIN
        victims: list[Victim] = []
        for one in toll.victims:
            demand = on_row[one.uid].demand
            name, unheld = called.names[one.uid], _unheld(called.items.get(one.uid))
            victims.append(Victim(demand.namespace, name, one.uid, node, demand, pod, unheld))
            self._going.set(one.uid, until)
            self._budgets.take(demand)
        awaited = [one.uid for one in self._contests.occupants(toll.row, pod.priority) if one.going]
        self._nominations.add(pod.uid, node, pod.demand, awaited)
        self.census.touch(node)
        VICTIMS.observe(len(victims))
        return Verdict(node, tuple(victims), displaced, record=record)

    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        was, now = _on_node(old), _on_node(new)
        if was is not None:
            self._priorities[was.object.spec.priority] -= 1
        if now is not None:
            self._priorities[now.object.spec.priority] += 1
            if now.object.metadata.deletion_timestamp:
                self._going.set(now.uid, _until(now.object))
                self.census.touch(now.object.spec.node_name)
        if was is not None and (now is None or now.uid != was.uid):
            self._going.set(was.uid, None)
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
        if node and known is None and not self._columns.node_of(new.uid):  # else it is counted already
            here = [item.uid for item in self._pods.indexed(BY_NODE, node) if item.uid in self._going]
            self._nominations.add(new.uid, node, waiting.demand, here)
        elif not node and known is not None and known.node == before:
            self._nominations.drop(new.uid)


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
