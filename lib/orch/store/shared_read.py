"""One read answers everyone who asked before it began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from orch.errors import UnavailableError

ValueT = TypeVar("ValueT")


class SharedRead(Generic[ValueT]):
    """Calls of `read` are shared, one at a time.

    Who asks while a read is under way waits for the next one: an answer is never older than its question. The next
    one begins `pause` seconds after that, so that those who were just answered and ask again are of the company;
    whoever asks alone does not wait.
    """

    def __init__(self, read: Callable[[], Awaitable[ValueT]], *, pause: float = 0) -> None:
        self._read = read
        self._pause = pause
        self._waiting: list[asyncio.Future[ValueT]] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self) -> ValueT:
        """Return the result of a read that began after this call; raise what it raised."""
        if self._closed:
            raise UnavailableError("the store is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ValueT] = loop.create_future()
        self._waiting.append(answer)
        if self._task is None:
            self._task = loop.create_task(self._serve(), name="shared-read")
        return await answer

    async def close(self) -> None:
        """Fail whoever waits with UnavailableError."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        _fail(self._waiting, UnavailableError("the store was closed"))

    async def _serve(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            try:
                value = await self._read()
                for answer in asked:
                    if not answer.done():
                        answer.set_result(value)
            except Exception as error:  # noqa: BLE001 - it is raised to those who wait
                _fail(asked, error)
            finally:
                _fail(asked, UnavailableError("the store was closed"))
            if self._waiting and self._pause:
                await asyncio.sleep(self._pause)
        self._task = None


def _fail(waiting: Iterable[asyncio.Future[ValueT]], error: Exception) -> None:
    for answer in waiting:
        if not answer.done():
            answer.set_exception(error)
