"""A bounded queue between a connection, which must not wait, and the one reader of a subscription."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from orch.bus.protocol import Message
from orch.errors import BusError, OrchError


class Mailbox:
    """Holds at most `limit` messages. One more and the reader gets BusError instead: a gap is never hidden."""

    def __init__(self, subject: str, limit: int) -> None:
        self._subject = subject
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._error: OrchError | None = None

    def put(self, message: Message) -> None:
        """Add a message, or turn the mailbox into an error when it is full."""
        if self._error is not None:
            return
        if len(self._messages) >= self._limit:
            self.fail(BusError(f"the subscriber of {self._subject} is too slow: {self._limit} messages are waiting"))
            return
        self._messages.append(message)
        self._wake.set()

    def fail(self, error: OrchError) -> None:
        """Make the reader raise `error`; what waits is dropped."""
        self._error = error
        self._messages.clear()
        self._wake.set()

    async def messages(self) -> AsyncGenerator[Message]:
        """Yield messages as they come."""
        while True:
            while self._messages:
                yield self._messages.popleft()
            if self._error is not None:
                raise self._error
            self._wake.clear()
            await self._wake.wait()
