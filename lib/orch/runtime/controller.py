"""Runs a reconciler: what to look at, by how many workers, and what to do with the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Final

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from orch.clock import Clock
from orch.errors import ConflictError, OrchError, TerminalError, UnavailableError
from orch.objects.scheme import Kind
from orch.runtime.informer import Change, Informers, Item
from orch.runtime.queue import WorkQueue
from orch.runtime.reconcile import Key, Reconciler, Result
from orch.telemetry import TraceContext, span

_LOG: Final = logging.getLogger(__name__)
_RECONCILES: Final = Counter("controller_runtime_reconcile", "Reconciliations by outcome.", ["controller", "result"])
_TERMINAL: Final = Counter(
    "controller_runtime_terminal_reconcile_errors", "Failures that are not retried.", ["controller"]
)
_SECONDS: Final = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Time of one reconciliation.",
    ["controller"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_ITEMS_PER_TURN: Final = 200
_ACTIVE: Final = Gauge("controller_runtime_active_workers", "Reconciliations under way.", ["controller"])

_SYNC_PATIENCE: Final = 30.0
_WHILE_AWAY: Final = 1.0
_SOONEST: Final = 0.001
"""Seconds after which a key is due again at the earliest: what is left until a moment may round to nothing, and a
reconciler that waits for the moment would be called without end until then."""


class Watch(msgspec.Struct, frozen=True):
    """Which keys a change of a kind's object concerns."""

    kind: Kind[Any]
    keys: Callable[[Change[Any]], Iterable[Key]]


def own_key(change: Change[Any]) -> Iterable[Key]:
    """Return the key of the object itself."""
    item = change.item
    return (Key(item.namespace, item.name),)


def owner_key(kind: Kind[Any]) -> Callable[[Change[Any]], Iterable[Key]]:
    """Return what yields the keys of the object's controller of that kind, before and after the change."""
    namespaced, name, group = kind.namespaced, kind.name, kind.group

    def keys(change: Change[Any]) -> Iterable[Key]:
        found: list[Key] = []
        for item in (change.old, change.new):
            owner = item.object.metadata.controller if item is not None else None
            if item is None or owner is None or owner.kind != name or _group_of(owner.api_version) != group:
                continue
            key = Key(item.namespace if namespaced else "", owner.name)
            if key not in found:
                found.append(key)
        return found

    return keys


def _group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


class Controller:
    """Calls a reconciler for every key that its watches yield, and for all of them again every `resync` seconds.

    A key is never reconciled twice at a time. An exception, and a reconciliation that takes longer than `deadline`
    seconds, is retried with the queue's back-off; TerminalError waits for the next change or resync.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        watches: Iterable[Watch],
        *,
        workers: int = 4,
        resync: float = 300.0,
        deadline: float = 60.0,
    ) -> None:
        self.name = name
        self.reconciler = reconciler
        self.watches = tuple(watches)
        self._queue: WorkQueue | None = None
        self._informers: Informers | None = None
        self._stops: dict[Watch, Callable[[], None]] = {}
        self.workers = workers
        self.resync = resync
        self.deadline = deadline
        self._traces: dict[Key, TraceContext] = {}
        self._seconds = _SECONDS.labels(name)
        self._active = _ACTIVE.labels(name)
        # Made now, so that a rate over them starts from zero.
        self._results = {each: _RECONCILES.labels(name, each) for each in ("success", "error", "requeue_after")}

    def watch(self, watch: Watch) -> None:
        """Watch one more kind from now on, as one that came to be served."""
        self.watches = (*self.watches, watch)
        if self._queue is not None and self._informers is not None:
            self._begin(watch, self._informers, self._queue)

    def unwatch(self, kind: Kind[Any]) -> None:
        """Watch a kind no longer, as one that is not served any more."""
        for watch in self.watches:
            if watch.kind == kind and (stop := self._stops.pop(watch, None)) is not None:
                stop()
        self.watches = tuple(watch for watch in self.watches if watch.kind != kind)

    def enqueue(self, key: Key) -> None:
        """Have a key reconciled for a reason that no watch sees; nothing while this controller does not run."""
        if self._queue is not None:
            self._queue.add(key)

    def _begin(self, watch: Watch, informers: Informers, queue: WorkQueue, *, known: bool = True) -> None:
        handler = self._handler(watch, queue)
        self._stops[watch] = informers.of(watch.kind).on_change(handler, known=known)

    def _end(self) -> None:
        self._queue = self._informers = None
        for stop in self._stops.values():
            stop()
        self._stops.clear()

    async def run(self, informers: Informers, clock: Clock) -> None:
        """Reconcile for ever. Informers are shared and run elsewhere; work starts when they have their snapshots."""
        queue = WorkQueue(self.name, clock)
        self._traces.clear()
        self._queue, self._informers = queue, informers
        with ExitStack() as stack:
            stack.callback(self._end)
            for watch in self.watches:
                known = informers.of(watch.kind).items()
                self._begin(watch, informers, queue, known=False)
                await self._take_known(watch, known, queue)
            await self._wait_synced(informers)
            async with asyncio.TaskGroup() as tasks:
                for number in range(self.workers):
                    tasks.create_task(self._work(queue), name=f"{self.name} worker {number}")
                tasks.create_task(self._resync(informers, queue, clock), name=f"{self.name} resync")

    async def _take_known(self, watch: Watch, known: Iterable[Item[Any]], queue: WorkQueue) -> None:
        take = self._handler(watch, queue)
        for number, item in enumerate(known):
            take(Change(None, item, item.trace))
            await _breathe(number)

    async def _wait_synced(self, informers: Informers) -> None:
        while True:
            try:
                await informers.wait_synced(_SYNC_PATIENCE)
            except UnavailableError as error:
                _LOG.warning("controller %s waits: %s", self.name, error)
            else:
                return

    def _handler(self, watch: Watch, queue: WorkQueue) -> Callable[[Change[Any]], None]:
        def take(change: Change[Any]) -> None:
            for key in watch.keys(change):
                if change.trace is not None:
                    self._traces[key] = change.trace
                queue.add(key)

        return take

    async def _resync(self, informers: Informers, queue: WorkQueue, clock: Clock) -> None:
        while True:
            await clock.sleep(self.resync)
            for watch in self.watches:
                for number, item in enumerate(informers.of(watch.kind).items()):
                    for key in watch.keys(Change(item, item)):
                        queue.add(key)
                    await _breathe(number)

    async def _work(self, queue: WorkQueue) -> None:
        while True:
            key = await queue.get()
            try:
                await self._step(queue, key)
            finally:
                queue.done(key)
            # A reconciliation that finds nothing to do waits for nothing: thousands in a row would hold up the lease.
            await asyncio.sleep(0)

    async def _step(self, queue: WorkQueue, key: Key) -> None:
        """Reconcile the key once and decide when it is due again."""
        trace = self._traces.pop(key, None)
        try:
            result = await self._reconcile(key, trace)
        except TerminalError as error:
            _LOG.error("%s %s failed for good: %s", self.name, key, error)
            _TERMINAL.labels(self.name).inc()
            self._results["error"].inc()
            queue.forget(key)
        except Exception as error:  # noqa: BLE001 - whatever a reconciler raises is counted, logged and retried
            self._log_failure(queue, key, error)
            self._results["error"].inc()
            if trace is not None:
                self._traces.setdefault(key, trace)  # the retry is still about the change that asked for it
            # While the api is away every key fails, again and again; none should have to wait long when it is back.
            queue.add_rate_limited(key, most=_WHILE_AWAY if isinstance(error, UnavailableError) else None)
        else:
            queue.forget(key)
            if result.requeue_after is None:
                self._results["success"].inc()
            else:
                self._results["requeue_after"].inc()
                queue.add_after(key, max(result.requeue_after, _SOONEST))

    async def _reconcile(self, key: Key, trace: TraceContext | None) -> Result:
        attributes = {"controller": self.name, "k8s.namespace.name": key.namespace, "k8s.object.name": key.name}
        with (
            span(f"reconcile {self.name}", parent=trace, attributes=attributes),
            self._seconds.time(),
            self._active.track_inprogress(),
        ):
            try:
                async with asyncio.timeout(self.deadline):
                    return await self.reconciler.reconcile(key)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Something that the reconciler waited for was cancelled, not this worker.
                raise OrchError(f"reconciling {key} was cancelled from within") from error

    def _log_failure(self, queue: WorkQueue, key: Key, error: Exception) -> None:
        tries = queue.failures(key) + 1
        if isinstance(error, ConflictError):
            _LOG.info("%s %s is tried again: %s", self.name, key, error)
        elif isinstance(error, TimeoutError):
            _LOG.warning("%s %s took longer than %g s, failure %d", self.name, key, self.deadline, tries)
        elif isinstance(error, OrchError):
            _LOG.warning("%s %s failed, failure %d: %s", self.name, key, tries, error)
        else:
            _LOG.error("%s %s failed, failure %d", self.name, key, tries, exc_info=error)


async def _breathe(number: int) -> None:
    """Let others have the loop, now and then in a long row."""
    if number % _ITEMS_PER_TURN == _ITEMS_PER_TURN - 1:
        await asyncio.sleep(0)
