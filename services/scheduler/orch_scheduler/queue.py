"""Pods that wait for a node: active by priority, backing off after a failure, or parked until a change can help.

A parked pod costs nothing while nothing changes: pods of one class that the same rules refused are parked together, a
change is judged once for each such class, and only the first few pods that it helps are tried at once. Where one of
them finds a place, the next are encouraged; the others come when their back-off ends. So a change that helps one of
10,000 like pods makes few attempts, and one that helps all of them is used at the engine's speed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Hashable, Iterable
from functools import cache
from typing import Final, TypeVar

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.hints import Happening, event_of, helps
from orch_scheduler.waiting import Waiting

__all__ = ["FIRST_BACKOFF", "LAST_BACKOFF", "PARKED", "PARKED_AT_MOST", "PodQueue", "Waiting"]

FIRST_BACKOFF: Final = 1.0
LAST_BACKOFF: Final = 10.0
PARKED: Final = "unschedulable"
PARKED_AT_MOST: Final = 300.0
"""Seconds after which a parked pod is tried again whatever happened (kube-scheduler's flush)."""

_TRIED_AT_ONCE: Final = 16
"""Pods of one class that a change takes out of their back-off."""
_ENCOURAGED: Final = 128
"""Pods of one class that are taken out of their back-off when others of it were placed."""

PENDING: Final = Gauge("scheduler_pending_pods", "Pods that wait for a node, by queue", ("queue",))
UNSCHEDULABLE: Final = Gauge("scheduler_unschedulable_pods", "Pods that a rule refused", ("plugin", "profile"))
INCOMING: Final = Counter("scheduler_queue_incoming_pods", "Pods added to queues, by event", ("queue", "event"))

_incoming: Final = cache(INCOMING.labels)
"""Looking up a figure by its labels costs more than counting."""

_Class = tuple[Demand, frozenset[str], Wake]
"""Pods of one demand that the same rules refused."""


class Backoff(msgspec.Struct, frozen=True):
    """Seconds that a pod waits after its first failure, and at most."""

    first: float = FIRST_BACKOFF
    most: float = LAST_BACKOFF

    def after(self, failures: int) -> float:
        """Return the seconds to wait after so many failures."""
        return min(self.most, self.first * 2.0 ** min(max(failures, 1) - 1, 32))


class PodQueue:
    """Each pod is in one place: active, backing off, parked, gated, or handed out.

    Without `by_priority`, pods are handed out in the order in which they came.
    """

    def __init__(self, clock: Clock, *, by_priority: bool = True, backoff: Backoff | None = None) -> None:
        self._clock = clock
        self._by_priority = by_priority
        self._backoff = backoff or Backoff()
        self._order = itertools.count()
        self._known: dict[str, Waiting] = {}
        self._active = _Heap()
        self._backing_off = _Heap()
        self._parked: dict[str, Waiting] = {}  # in the order in which they were parked
        self._classes: dict[_Class, dict[str, Waiting]] = {}
        self._discouraged: dict[Demand, dict[str, Waiting]] = {}  # woken, but still backing off
        self._gated: dict[str, Waiting] = {}
        self._groups: dict[str, dict[str, Waiting]] = {}
        self._handed_out: dict[str, Waiting] = {}
        self._ready = asyncio.Event()
        PENDING.labels("active").set_function(lambda: len(self._active))
        PENDING.labels("backoff").set_function(lambda: len(self._backing_off))
        PENDING.labels("unschedulable").set_function(lambda: len(self._parked))
        PENDING.labels("gated").set_function(lambda: len(self._gated))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, uid: str) -> bool:
        return uid in self._known

    def get(self, uid: str) -> Waiting | None:
        """Return a pod that waits."""
        return self._known.get(uid)

    def handed_out(self, uid: str) -> bool:
        """Return whether a pod was handed out and not put back since."""
        return uid in self._handed_out

    def place(self, uid: str) -> str:
        """Return where a pod is, for people to read; "" for one that does not wait."""
        pod = self._known.get(uid)
        if pod is None:
            return ""
        if pod.gated:
            return "gated"
        if uid in self._handed_out:
            return "being placed"
        if uid in self._parked:
            return PARKED
        return "active" if uid in self._active else "backing off"

    @property
    def parked(self) -> int:
        """How many pods wait for a change."""
        return len(self._parked)

    @property
    def busy(self) -> bool:
        """Whether a pod could be handed out now."""
        return bool(self._active)

    def put(self, pod: Waiting) -> None:
        """Add a pod, or take over its new state; one whose demand changed or whose gates went is tried again."""
        known = self._known.get(pod.uid)
        if known is None:
            self._known[pod.uid] = pod
            pod.queued = pod.queued or pod.since
            if pod.group:
                self._groups.setdefault(pod.group, {})[pod.uid] = pod
            if pod.gated:
                self._gated[pod.uid] = pod
                _incoming("gated", "PodAdd").inc()
            else:
                self._activate(pod, "PodAdd")
            return
        # Out of where it is first: what it is kept under must not change while it is there.
        again = known.demand is not pod.demand and (self._unpark(pod.uid) or self._hasten(pod.uid))
        if known.group != pod.group:
            self._leave_group(known)
            if pod.group:
                self._groups.setdefault(pod.group, {})[pod.uid] = known
        known.revision, known.demand, known.trace = pod.revision, pod.demand, pod.trace
        known.preempts, known.group = pod.preempts, pod.group
        if known.gated and not pod.gated:
            known.gated = False
            del self._gated[pod.uid]
            known.since = known.queued = self._clock.monotonic()
            self._activate(known, "PodUpdate")
        elif again:
            self._activate(known, "PodUpdate")

    def remove(self, uid: str) -> None:
        """Forget a pod: it was bound, deleted, or is no longer ours."""
        pod = self._known.pop(uid, None)
        if pod is None:
            return
        self._active.discard(uid)
        self._hasten(uid)
        self._unpark(uid)
        self._gated.pop(uid, None)
        self._handed_out.pop(uid, None)
        self._leave_group(pod)

    def pop(self, limit: int) -> list[Waiting]:
        """Hand out up to `limit` active pods, highest priority first, then longest waiting."""
        self._release()
        batch: list[Waiting] = []
        while len(batch) < limit and (pod := self._active.pop()) is not None:
            self._hand_out(pod)
            batch.append(pod)
        return batch

    def groups(self) -> list[str]:
        """Return the groups of which pods wait."""
        return list(self._groups)

    def members(self, group: str) -> list[Waiting]:
        """Return the pods of a group that wait and are not gated, longest waiting first."""
        return [pod for pod in self._groups.get(group, {}).values() if not pod.gated]

    def take(self, pods: Iterable[Waiting]) -> list[Waiting]:
        """Hand out those of the pods that are in the queue, wherever in it, and return them."""
        taken: list[Waiting] = []
        for pod in pods:
            if self._known.get(pod.uid) is pod and not pod.gated and pod.uid not in self._handed_out:
                self._active.discard(pod.uid)
                self._hasten(pod.uid)
                self._unpark(pod.uid)
                self._hand_out(pod)
                taken.append(pod)
        return taken

    def reclaim(self) -> list[Waiting]:
        """Make active again, and return, what was handed out and of which nothing more was heard."""
        lost = list(self._handed_out.values())
        self._handed_out.clear()
        for pod in lost:
            self._activate(pod, "Reclaimed")
        return lost

    def park(self, pod: Waiting, wake: Wake, message: str, rules: Iterable[str] = ()) -> None:
        """Put back a pod that no node would take, until something happens that can help against `rules`."""
        if self._known.get(pod.uid) is not pod or pod.uid not in self._handed_out:
            return
        del self._handed_out[pod.uid]
        pod.wake, pod.message, pod.rules = wake, message, frozenset(rules)
        pod.failures += 1
        pod.parked = pod.queued = self._clock.monotonic()
        self._parked[pod.uid] = pod
        self._classes.setdefault(_class(pod), {})[pod.uid] = pod
        for rule in pod.rules:
            UNSCHEDULABLE.labels(rule, pod.scheduler).inc()
        _incoming("unschedulable", "ScheduleAttemptFailure").inc()
        self._ready.set()  # who waits has to know when its time in there ends

    def retry(self, pod: Waiting) -> None:
        """Put back a pod whose binding failed, or that the engine could not judge; it backs off."""
        if self._known.get(pod.uid) is pod and self._handed_out.pop(pod.uid, None) is not None:
            pod.failures += 1
            pod.queued = self._clock.monotonic()
            self._back_off(pod, pod.queued + self._backoff.after(pod.failures), "ScheduleAttemptFailure")

    def woken(self, change: Wake, about: Happening | None = None) -> None:
        """Try parked pods again that a change can help; `about` tells what changed, where that is known."""
        if not self._classes:
            return
        now, event = self._clock.monotonic(), event_of(change)
        for key in [key for key in self._classes if key[2] & change]:
            demand, rules, _ = key
            if about is not None and not helps(rules, demand, change, about):
                continue
            at_once = _TRIED_AT_ONCE
            for pod in list(self._classes[key].values()):
                self._unpark(pod.uid)
                due = pod.parked + self._backoff.after(pod.failures)
                if due <= now or at_once > 0:
                    at_once -= 1
                    self._activate(pod, event)
                else:
                    self._discouraged.setdefault(demand, {})[pod.uid] = pod
                    self._back_off(pod, due, event)

    def encourage(self, demand: Demand) -> None:
        """Try some pods of a class before their back-off ends, since others of it have found a place."""
        waiting = self._discouraged.get(demand)
        for uid in list(itertools.islice(waiting or (), _ENCOURAGED)):
            pod = self._known[uid]
            self._hasten(uid)
            self._activate(pod, "Encouraged")

    def activate(self, uid: str) -> None:
        """Try a pod that waits now, as when its nomination was taken from it or its group is complete."""
        pod = self._known.get(uid)
        if pod is not None and (self._unpark(uid) or self._hasten(uid)):
            self._activate(pod, "Activated")

    async def wait(self) -> None:
        """Return when there is, or by time alone could be, an active pod."""
        while True:
            self._release()
            if self._active:
                return
            self._ready.clear()
            due = self._next_due()
            if due is None:
                await self._ready.wait()
                continue
            waiting = asyncio.ensure_future(self._ready.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(max(0.0, due - self._clock.monotonic())))
            try:
                await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    def _next_due(self) -> float | None:
        moments: list[float] = []
        first = self._backing_off.first()
        if first is not None:
            moments.append(first[0])
        if self._parked:
            moments.append(next(iter(self._parked.values())).parked + PARKED_AT_MOST)
        return min(moments, default=None)

    def _release(self) -> None:
        now = self._clock.monotonic()
        while (first := self._backing_off.first()) is not None and first[0] <= now:
            pod = first[-1]
            self._hasten(pod.uid)
            self._activate(pod, "BackoffComplete")
        while self._parked:
            pod = next(iter(self._parked.values()))
            if pod.parked + PARKED_AT_MOST > now:
                break
            self._unpark(pod.uid)
            self._activate(pod, "UnschedulableTimeout")

    def _hand_out(self, pod: Waiting) -> None:
        pod.attempts += 1
        self._handed_out[pod.uid] = pod

    def _leave_group(self, pod: Waiting) -> None:
        members = self._groups.get(pod.group)
        if members is not None and members.pop(pod.uid, None) is not None and not members:
            del self._groups[pod.group]

    def _unpark(self, uid: str) -> bool:
        pod = self._parked.pop(uid, None)
        if pod is None:
            return False
        _forget(self._classes, _class(pod), uid)
        for rule in pod.rules:
            UNSCHEDULABLE.labels(rule, pod.scheduler).dec()
        return True

    def _hasten(self, uid: str) -> bool:
        """Take a pod out of its back-off."""
        pod = self._backing_off.discard(uid)
        if pod is None:
            return False
        _forget(self._discouraged, pod.demand, uid)
        return True

    def _activate(self, pod: Waiting, event: str) -> None:
        priority = pod.demand.priority if self._by_priority else 0
        self._active.push((-priority, pod.queued, next(self._order), pod))
        _incoming("active", event).inc()
        self._ready.set()

    def _back_off(self, pod: Waiting, due: float, event: str) -> None:
        self._backing_off.push((due, 0.0, next(self._order), pod))
        _incoming("backoff", event).inc()
        self._ready.set()


_Entry = tuple[float, float, int, Waiting]


class _Heap:
    """A heap of pods from which any can be taken out; it is never more than twice as long as it has pods."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._pods: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def push(self, entry: _Entry) -> None:
        self._pods[entry[-1].uid] = entry
        heapq.heappush(self._heap, entry)

    def first(self) -> _Entry | None:
        while self._heap:
            entry = self._heap[0]
            if self._pods.get(entry[-1].uid) is entry:
                return entry
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Waiting | None:
        entry = self.first()
        if entry is None:
            return None
        heapq.heappop(self._heap)
        del self._pods[entry[-1].uid]
        return entry[-1]

    def discard(self, uid: str) -> Waiting | None:
        entry = self._pods.pop(uid, None)
        if entry is None:
            return None
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._pods):
            self._heap = list(self._pods.values())
            heapq.heapify(self._heap)
        return entry[-1]


def _class(pod: Waiting) -> _Class:
    return pod.demand, pod.rules, pod.wake


KeyT = TypeVar("KeyT", bound=Hashable)


def _forget(kept: dict[KeyT, dict[str, Waiting]], key: KeyT, uid: str) -> None:
    members = kept.get(key)
    if members is not None and members.pop(uid, None) is not None and not members:
        del kept[key]
