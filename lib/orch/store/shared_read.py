"""One read answers everyone who asked before it began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from orch.errors import UnavailableError

ValueT = TypeVar("ValueT")


class SharedRead(Generic[ValueT]):
    """Calls of `read` are shared, one at a time.

    Who asks while a read is under way waits for the next one: an answer is never older than its question.
    """

    def __init__(self, read: Callable[[], Awaitable[ValueT]]) -> None:
        self._read = read
        self._next: asyncio.Future[ValueT] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self) -> ValueT:
        """Return the result of a read that began after this call; raise what it raised."""
        if self._closed:
            raise UnavailableError("the store is closed")
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._serve(), name="shared-read")
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """Fail whoever waits with UnavailableError."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._next is not None:
            _fail(self._next, UnavailableError("the store was closed"))

    async def _serve(self) -> None:
        while self._next is not None:
            waiting, self._next = self._next, None
            try:
                waiting.set_result(await self._read())
            except Exception as error:  # noqa: BLE001 - it is raised to those who wait
                _fail(waiting, error)
            finally:
                _fail(waiting, UnavailableError("the store was closed"))
        self._task = None


def _fail(waiting: asyncio.Future[ValueT], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
        waiting.exception()  # counts as seen, even when everyone who waited has gone
