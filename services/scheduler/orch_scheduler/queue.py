"""Pods that wait for a node: active by priority, backing off after a failure, or parked until a change can help."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Final

import msgspec
from prometheus_client import Gauge

from orch.clock import Clock
from orch_pb.v1.object_pb2 import TraceContext
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake

FIRST_BACKOFF: Final = 1.0
LAST_BACKOFF: Final = 10.0
PARKED_AT_MOST: Final = 300.0
"""Seconds after which a parked pod is tried again whatever happened (kube-scheduler's flush)."""

PENDING: Final = Gauge("scheduler_pending_pods", "Pods that wait for a node, by queue", ("queue",))


class Waiting(msgspec.Struct, eq=False):
    """A pod that waits. `since` and `parked` are monotonic seconds; `message` is the last refusal's."""

    uid: str
    namespace: str
    name: str
    revision: int
    demand: Demand
    trace: TraceContext | None
    since: float
    attempts: int = 0
    parked: float = 0.0
    wake: Wake = Wake.NODE_ADDED
    message: str = ""


class PodQueue:
    """Each pod is in one place: active, backing off, parked, or handed out.

    Without `by_priority`, pods are handed out in the order in which they came.
    """

    def __init__(self, clock: Clock, *, by_priority: bool = True) -> None:
        self._clock = clock
        self._by_priority = by_priority
        self._order = itertools.count()
        self._known: dict[str, Waiting] = {}
        self._active: list[tuple[int, float, int, Waiting]] = []
        self._in_active: set[str] = set()
        self._backing_off: list[tuple[float, int, Waiting]] = []
        self._in_backoff: set[str] = set()
        self._parked: dict[str, Waiting] = {}
        self._hoped_for = Wake(0)  # what any parked pod waits for, and perhaps more
        self._handed_out: dict[str, Waiting] = {}
        self._ready = asyncio.Event()
        PENDING.labels("active").set_function(lambda: len(self._in_active))
        PENDING.labels("backoff").set_function(lambda: len(self._in_backoff))
        PENDING.labels("unschedulable").set_function(lambda: len(self._parked))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, uid: str) -> bool:
        return uid in self._known

    def put(self, pod: Waiting) -> None:
        """Add a pod, or take over its new state; a parked pod whose demand changed is tried again."""
        known = self._known.get(pod.uid)
        if known is None:
            self._known[pod.uid] = pod
            self._activate(pod)
            return
        changed = known.demand is not pod.demand
        known.revision, known.demand, known.trace = pod.revision, pod.demand, pod.trace
        if changed and self._parked.pop(pod.uid, None) is not None:
            self._activate(known)

    def remove(self, uid: str) -> None:
        """Forget a pod: it was bound, deleted, or is no longer ours."""
        self._known.pop(uid, None)
        self._in_active.discard(uid)
        self._in_backoff.discard(uid)
        self._parked.pop(uid, None)
        self._handed_out.pop(uid, None)

    def pop(self, limit: int) -> list[Waiting]:
        """Hand out up to `limit` active pods, highest priority first, then longest waiting."""
        self._release()
        batch: list[Waiting] = []
        while self._active and len(batch) < limit:
            pod = heapq.heappop(self._active)[-1]
            if pod.uid in self._in_active and self._known.get(pod.uid) is pod:
                self._in_active.discard(pod.uid)
                pod.attempts += 1
                self._handed_out[pod.uid] = pod
                batch.append(pod)
        return batch

    def reclaim(self) -> list[Waiting]:
        """Make active again, and return, what was handed out and of which nothing more was heard."""
        lost = list(self._handed_out.values())
        self._handed_out.clear()
        for pod in lost:
            self._activate(pod)
        return lost

    def park(self, pod: Waiting, wake: Wake, message: str) -> None:
        """Put back a pod that no node would take, until one of `wake` happens."""
        if self._known.get(pod.uid) is pod:
            pod.wake, pod.message, pod.parked = wake, message, self._clock.monotonic()
            self._handed_out.pop(pod.uid, None)
            self._parked[pod.uid] = pod
            self._hoped_for |= wake

    def retry(self, pod: Waiting) -> None:
        """Put back a pod whose binding failed; it backs off."""
        if self._known.get(pod.uid) is pod:
            self._handed_out.pop(pod.uid, None)
            self._back_off(pod, self._clock.monotonic() + _backoff(pod.attempts))

    def woken(self, change: Wake) -> None:
        """Try parked pods again that `change` can help, once they have backed off since they were parked."""
        if not change & self._hoped_for:
            return
        now = self._clock.monotonic()
        helped = [pod for pod in self._parked.values() if pod.wake & change]
        self._hoped_for = Wake(0)
        for pod in self._parked.values():
            if not pod.wake & change:
                self._hoped_for |= pod.wake
        for pod in helped:
            del self._parked[pod.uid]
            due = pod.parked + _backoff(pod.attempts)
            if due <= now:
                self._activate(pod)
            else:
                self._back_off(pod, due)

    async def wait(self) -> None:
        """Return when there is, or by time alone could be, an active pod."""
        while True:
            self._release()
            if self._in_active:
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
        moments = [moment for moment, _, pod in self._backing_off[:1] if pod]
        if self._parked:
            moments.append(min(pod.parked for pod in self._parked.values()) + PARKED_AT_MOST)
        return min(moments, default=None)

    def _release(self) -> None:
        now = self._clock.monotonic()
        while self._backing_off and self._backing_off[0][0] <= now:
            pod = heapq.heappop(self._backing_off)[-1]
            if pod.uid in self._in_backoff and self._known.get(pod.uid) is pod:
                self._in_backoff.discard(pod.uid)
                self._activate(pod)
        for pod in [pod for pod in self._parked.values() if pod.parked + PARKED_AT_MOST <= now]:
            del self._parked[pod.uid]
            self._activate(pod)

    def _activate(self, pod: Waiting) -> None:
        self._in_active.add(pod.uid)
        priority = pod.demand.priority if self._by_priority else 0
        heapq.heappush(self._active, (-priority, pod.since, next(self._order), pod))
        self._ready.set()

    def _back_off(self, pod: Waiting, due: float) -> None:
        self._in_backoff.add(pod.uid)
        heapq.heappush(self._backing_off, (due, next(self._order), pod))
        self._ready.set()


def _backoff(attempts: int) -> float:
    return min(LAST_BACKOFF, FIRST_BACKOFF * 2.0 ** (max(attempts, 1) - 1))
