"""What happened to the objects of one resource, and those who follow it.

A history is bounded by events, bytes and age; whoever wants to resume from before it is told to list again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, Literal, Self

import msgspec

from orch.errors import ExpiredError
from orch_api.storage.objects import Cached

MAX_EVENTS: Final = 4096
MAX_BYTES: Final = 16 << 20
MAX_AGE: Final = 300.0
MAX_PENDING: Final = 16_384


class CacheEvent(msgspec.Struct, frozen=True, gc=False):
    """A change of one object. `previous` is its state before, None for an addition. `at` is monotonic time."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    item: Cached
    previous: Cached | None
    at: float = 0.0


class Subscription:
    """A bounded feed of changes, in order, in batches. Iterating it raises ExpiredError when it was too slow."""

    def __init__(
        self,
        version: Callable[[], int],
        leave: Callable[[Subscription], None],
        backlog: Sequence[CacheEvent] = (),
        limit: int = MAX_PENDING,
    ) -> None:
        self._version = version
        self._leave = leave
        self._pending = list(backlog)
        self._limit = max(limit, len(self._pending))
        self._handed = version()
        self._waiter: asyncio.Future[None] | None = None
        self._overflowed = False
        self._closed = False

    @property
    def progress(self) -> int:
        """The version up to which everything was handed out: what a bookmark may carry."""
        return self._handed if self._pending or self._overflowed else self._version()

    def add(self, event: CacheEvent) -> None:
        """Queue a change; past the limit all is dropped and the reader is told."""
        if len(self._pending) >= self._limit:
            self._overflowed = True
            self._pending.clear()
        if not self._overflowed:
            self._pending.append(event)

    def wake(self) -> None:
        """Let the reader see what was added."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def idle(self) -> bool:
        """Whether everything was handed out."""
        return not (self._pending or self._overflowed or self._closed)

    def take(self) -> list[CacheEvent]:
        """Return what can be handed out without waiting."""
        batch, self._pending = self._pending, []
        if batch:
            self._handed = batch[-1].item.version
        return batch

    def close(self) -> None:
        """Stop following; a reader that waits is released."""
        if not self._closed:
            self._closed = True
            self._leave(self)
            self.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[CacheEvent]:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            if self._overflowed:
                raise ExpiredError(f"too old resource version: {self._handed} ({self._version()})")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()


class History:
    """The recent changes of one resource, complete after the version `oldest`."""

    __slots__ = ("_bytes", "_events", "oldest")

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest
        self._events: list[CacheEvent] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: CacheEvent) -> None:
        """Append a change, dropping a quarter of the oldest when there are too many."""
        self._events.append(event)
        self._bytes += len(event.item.json)
        if len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._drop(max(len(self._events) // 4, 1))

    def drop_before(self, moment: float) -> None:
        """Drop what happened before `moment`."""
        self._drop(bisect_right(self._events, moment, key=_moment))

    def since(self, version: int) -> Sequence[CacheEvent]:
        """Return the changes after `version`. Raises ExpiredError when it is from before this history."""
        if version < self.oldest:
            raise ExpiredError(f"too old resource version: {version} ({self.oldest})")
        return self._events[bisect_right(self._events, version, key=_event_version) :]

    def _drop(self, count: int) -> None:
        if count:
            dropped = self._events[:count]
            self.oldest = dropped[-1].item.version
            self._bytes -= sum(len(event.item.json) for event in dropped)
            del self._events[:count]


def _event_version(event: CacheEvent) -> int:
    return event.item.version


def _moment(event: CacheEvent) -> float:
    return event.at
