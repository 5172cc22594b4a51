"""Group commit: writes that come at about the same time share one transaction, each succeeding or failing alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from prometheus_client import Counter, Gauge, Histogram

from orch.errors import StoreError, UnavailableError
from orch.store.protocol import MAX_OPERATIONS, Write, Written

MAX_BATCH = MAX_OPERATIONS - 2
"""A nested transaction with a fence has two compares, and etcd counts a nest's operations on top of the outer ones."""

MAX_BATCH_BYTES = 1 << 20
"""Stays clear of etcd's --max-request-bytes of 1.5 MiB. A single larger write goes alone, for etcd to judge."""

MAX_PENDING = 16384
"""Writes that may wait; further callers wait for room."""

_OVERHEAD = 96
"""About what the messages around one write take on the wire."""

BATCH_SIZE = Histogram(
    "orch_store_commit_batch_size", "Writes in one transaction.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
COMMIT_SECONDS = Histogram(
    "orch_store_commit_seconds",
    "Time a transaction of writes took, without the wait for it.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5),
)
PENDING = Gauge("orch_store_commit_pending", "Writes that wait for their transaction to be sent.")
SPLITS = Counter("orch_store_commit_splits_total", "Transactions that the store refused and that were sent in halves.")

Commit = Callable[[Sequence[Write]], Awaitable[list[Written]]]
"""Commits a batch of different keys atomically; outcomes in order.

Raises UnavailableError when the outcome is unknown, StoreError when the batch was refused and changed nothing.
"""


class _Entry:
    __slots__ = ("expires", "outcome", "size", "write")

    def __init__(self, write: Write, outcome: asyncio.Future[Written], expires: float) -> None:
        self.write = write
        self.outcome = outcome
        self.expires = expires
        # The key travels in the compare, the operation and the read after a failure.
        self.size = _OVERHEAD + 3 * len(write.key) + len(write.value or b"")
        if write.fence is not None:
            self.size += _OVERHEAD + 2 * len(write.fence.key)


class Committer:
    """Collects writes into batches and keeps a few batches in flight.

    An idle committer sends what is written in the same turn of the event loop at once; while batches are in flight
    writes wait up to `max_wait` seconds for company, and for a free lane. A key is in one batch at a time, so writes
    of one key are committed in the order they were asked for. A write that could not be sent within `patience`
    seconds fails with UnavailableError, having changed nothing.
    """

    def __init__(self, commit: Commit, *, lanes: int = 2, max_wait: float = 0.001, patience: float = 5) -> None:
        self._commit = commit
        self._lanes = lanes
        self._max_wait = max_wait
        self._patience = patience
        self._room = asyncio.Semaphore(MAX_PENDING)
        self._ready: deque[_Entry] = deque()
        self._followers: dict[bytes, deque[_Entry] | None] = {}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Handle | None = None
        self._alarm_is_now = False
        self._closed = False

    async def write(self, write: Write) -> Written:
        """Commit one write. Raises UnavailableError (outcome unknown), or StoreError when it was refused."""
        async with self._room:
            return await self._submit(write).outcome

    async def write_all(self, writes: Sequence[Write]) -> list[Written]:
        """Commit many writes of different keys; outcomes in order. Raises the first error once all are decided."""
        if len({write.key for write in writes}) != len(writes):
            raise ValueError("the keys of write_all must differ")
        entries: list[_Entry] = []
        try:
            for write in writes:
                await self._room.acquire()
                entries.append(self._submit(write, release=True))
            if entries:
                await asyncio.wait([entry.outcome for entry in entries])
            return [entry.outcome.result() for entry in entries]
        finally:
            for entry in entries:
                if not entry.outcome.cancel() and not entry.outcome.cancelled():
                    entry.outcome.exception()  # every error counts as seen: the first one is raised for all

    async def close(self) -> None:
        """Fail what waits with UnavailableError; what is in flight has ended when this returns."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        waiting = [*self._ready, *(entry for chain in self._followers.values() if chain for entry in chain)]
        self._ready.clear()
        self._followers.clear()
        _fail(waiting, UnavailableError("the store was closed before the write was sent"))
        tasks = list(self._in_flight)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _submit(self, write: Write, *, release: bool = False) -> _Entry:
        loop = asyncio.get_running_loop()
        entry = _Entry(write, loop.create_future(), loop.time() + self._patience)
        if release:
            entry.outcome.add_done_callback(self._release)
        if self._closed:
            _fail([entry], UnavailableError("the store is closed"))
        elif write.key not in self._followers:
            self._followers[write.key] = None
            self._ready.append(entry)
            self._set_alarm()
        else:
            chain = self._followers[write.key]
            if chain is None:
                chain = self._followers[write.key] = deque()
            chain.append(entry)
        return entry

    def _release(self, _: asyncio.Future[Written]) -> None:
        self._room.release()

    def _set_alarm(self) -> None:
        """See to it that what is ready is sent in time; when all lanes are busy, the next free one does."""
        if self._alarm_is_now or len(self._in_flight) >= self._lanes:
            return
        loop = asyncio.get_running_loop()
        if not self._in_flight or len(self._ready) >= MAX_BATCH:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_soon(self._flush)
            self._alarm_is_now = True
        elif self._alarm is None:
            self._alarm = loop.call_later(self._max_wait, self._flush)

    def _flush(self) -> None:
        self._alarm = None
        self._alarm_is_now = False
        while self._ready and len(self._in_flight) < self._lanes:
            batch = self._take()
            if batch:
                task = asyncio.get_running_loop().create_task(self._run(batch), name="store-commit")
                self._in_flight.add(task)
                task.add_done_callback(self._landed)
        PENDING.set(len(self._ready))

    def _take(self) -> list[_Entry]:
        """Take the next batch off the queue; leave out whose caller has gone or whose patience has ended."""
        now = asyncio.get_running_loop().time()
        batch: list[_Entry] = []
        size = 0
        while self._ready and len(batch) < MAX_BATCH:
            entry = self._ready[0]
            if batch and size + entry.size > MAX_BATCH_BYTES:
                break
            self._ready.popleft()
            if entry.expires < now:
                _fail([entry], UnavailableError(f"the write could not be sent within {self._patience:g} s"))
            if entry.outcome.done():
                self._promote(entry.write.key)
                continue
            batch.append(entry)
            size += entry.size
        return batch

    async def _run(self, batch: list[_Entry]) -> None:
        try:
            await self._commit_batch(batch)
        finally:
            _fail(batch, UnavailableError("the store was closed; the write's outcome is unknown"))
            for entry in batch:
                self._promote(entry.write.key)

    async def _commit_batch(self, batch: list[_Entry]) -> None:
        BATCH_SIZE.observe(len(batch))
        started = time.perf_counter()
        try:
            outcomes = await self._commit([entry.write for entry in batch])
            for entry, written in zip(batch, outcomes, strict=True):
                if not entry.outcome.done():
                    entry.outcome.set_result(written)
        except StoreError as error:
            if len(batch) == 1:
                write = batch[0].write
                detail = f"the write of {write.key.decode(errors='replace')} ({len(write.value or b'')} bytes)"
                _fail(batch, StoreError(f"{detail} failed: {error}"))
                return
            # The refusal may be one write's fault; nothing was changed, so each half gets its own chance.
            SPLITS.inc()
            middle = len(batch) // 2
            await self._commit_batch(batch[:middle])
            await self._commit_batch(batch[middle:])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait for the outcome are told
            _fail(batch, error)
        else:
            COMMIT_SECONDS.observe(time.perf_counter() - started)

    def _promote(self, key: bytes) -> None:
        """Let the next write of `key` take its turn."""
        chain = self._followers.get(key)
        if chain:
            self._ready.append(chain.popleft())
        else:
            self._followers.pop(key, None)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if self._ready and not self._closed and not self._alarm_is_now:
            # What is ready has waited for this lane. call_soon also lets in the writes of those just told.
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_soon(self._flush)
            self._alarm_is_now = True


def _fail(entries: Iterable[_Entry], error: Exception) -> None:
    """Fail what is undecided, each with an error of its own: a shared one would gather every caller's traceback."""
    for entry in entries:
        if not entry.outcome.done():
            own = error
            if isinstance(error, (UnavailableError, StoreError)):
                own = (UnavailableError if isinstance(error, UnavailableError) else StoreError)(str(error))
                own.__cause__ = error
            entry.outcome.set_exception(own)
