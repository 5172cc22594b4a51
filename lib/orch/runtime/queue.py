"""The work queue of a controller, with the rules of client-go's workqueue.

A key that waits is not queued twice. A key that is worked on is not handed out again until `done`; when it was added
meanwhile it is queued then. So what a key stands for is never reconciled by two workers at a time, and no change is
missed. The queue is bounded by the number of different keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from orch.clock import Clock
from orch.runtime.reconcile import Key

_BUCKETS: Final = (1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0)
_DEPTH: Final = Gauge("workqueue_depth", "Keys that wait to be worked on.", ["name"])
_ADDS: Final = Counter("workqueue_adds", "Keys added.", ["name"])
_RETRIES: Final = Counter("workqueue_retries", "Keys added again after a failure.", ["name"])
_WAITED: Final = Histogram(
    "workqueue_queue_duration_seconds", "Time between a key's addition and its handing out.", ["name"], buckets=_BUCKETS
)
_WORKED: Final = Histogram(
    "workqueue_work_duration_seconds", "Time between a key's handing out and done.", ["name"], buckets=_BUCKETS
)

_MAX_DOUBLINGS: Final = 60


class WorkQueue:
    """Hands out keys to workers, each key to one at a time.

    Rate limiting is per key: `base` seconds after the first failure, doubled with each further one, at most `maximum`.
    """

    def __init__(self, name: str, clock: Clock, *, base: float = 0.005, maximum: float = 1000.0) -> None:
        self._clock = clock
        self._base = base
        self._maximum = maximum
        self._ready: deque[Key] = deque()
        self._added: dict[Key, float] = {}  # keys to be worked on, waiting or (while worked on) due again → since when
        self._working: dict[Key, float] = {}  # keys handed out → since when
        self._delayed: list[tuple[float, int, Key]] = []  # a heap; entries that `_due` does not confirm are void
        self._due: dict[Key, tuple[float, int]] = {}
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._timekeeper: asyncio.Future[None] | None = None
        self._depth_metric = _DEPTH.labels(name)
        self._adds_metric = _ADDS.labels(name)
        self._retries_metric = _RETRIES.labels(name)
        self._waited_metric = _WAITED.labels(name)
        self._worked_metric = _WORKED.labels(name)

    @property
    def depth(self) -> int:
        """The number of keys that could be handed out now."""
        return len(self._ready)

    def add(self, key: Key) -> None:
        """Queue the key, unless it waits already."""
        if key in self._added:
            return
        self._added[key] = self._clock.monotonic()
        self._adds_metric.inc()
        if key not in self._working:
            self._push(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Queue the key `seconds` from now; of several such calls the earliest moment counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        known = self._due.get(key)
        if known is not None and known[0] <= due:
            return
        ticket = (due, next(self._order))
        self._due[key] = ticket
        heapq.heappush(self._delayed, (*ticket, key))
        if self._delayed[0][1] == ticket[1]:
            self._wake_timekeeper()

    def add_rate_limited(self, key: Key, *, most: float | None = None) -> None:
        """Queue the key after the delay that its failures so far ask for, `most` seconds if given; count this one."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._retries_metric.inc()
        longest = self._maximum if most is None else most
        self.add_after(key, min(self._base * 2 ** min(failures, _MAX_DOUBLINGS), longest))

    def failures(self, key: Key) -> int:
        """Return how often the key was added rate-limited since it was last forgotten."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """Start the key's delays anew: it succeeded, or is given up."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key and hand it out. The caller must call `done` with it."""
        while True:
            self._release_due()
            if self._ready:
                break
            await self._wait()
        key = self._ready.popleft()
        now = self._clock.monotonic()
        self._working[key] = now
        self._depth_metric.dec()
        self._waited_metric.observe(now - self._added.pop(key))
        if self._delayed and self._timekeeper is None:
            self._wake_one()  # someone who stays has to watch the clock
        return key

    def done(self, key: Key) -> None:
        """Say that the key handed out by `get` was worked on."""
        self._worked_metric.observe(self._clock.monotonic() - self._working.pop(key))
        if key in self._added:
            self._push(key)

    def _push(self, key: Key) -> None:
        self._ready.append(key)
        self._depth_metric.inc()
        self._wake_one()

    def _release_due(self) -> None:
        """Queue the keys whose delay is over."""
        if not self._delayed:
            return
        now = self._clock.monotonic()
        while self._delayed:
            due, order, key = self._delayed[0]
            if self._due.get(key) == (due, order):
                if due > now:
                    return
                del self._due[key]
                self.add(key)
            heapq.heappop(self._delayed)

    async def _wait(self) -> None:
        """Wait until there may be work. One of the idle callers also watches the clock for delayed keys."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        try:
            if self._delayed and self._timekeeper is None:
                await self._wait_as_timekeeper(waiter)
            else:
                await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_one()  # this caller was woken for work that it will not take
            raise
        finally:
            with contextlib.suppress(ValueError):  # absent when it was woken
                self._idle.remove(waiter)

    async def _wait_as_timekeeper(self, waiter: asyncio.Future[None]) -> None:
        self._timekeeper = waiter
        sleeper = asyncio.ensure_future(self._clock.sleep(self._delayed[0][0] - self._clock.monotonic()))
        try:
            await asyncio.wait((waiter, sleeper), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._timekeeper = None
            self._wake_one()  # another has to watch the clock
            raise
        finally:
            self._timekeeper = None
            sleeper.cancel()

    def _wake_timekeeper(self) -> None:
        if self._timekeeper is None:
            self._wake_one()
        elif not self._timekeeper.done():
            self._idle.remove(self._timekeeper)
            self._timekeeper.set_result(None)

    def _wake_one(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
