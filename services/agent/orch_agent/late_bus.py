"""The bus of an agent that does not wait for it: pods of the node's own run before anybody can be reached.

Until there is a connection, what is sent fails as it does whenever the bus is away, and who listens waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from orch.bus.protocol import Bus, Delivery, Handler, Link, Message, Signal, StreamSpec, Subscription
from orch.errors import UnavailableError

_LOG: Final = logging.getLogger(__name__)


class LateBus:
    """Is `connect`'s bus once that has returned one. `connect` raises UnavailableError to be called again."""

    def __init__(self, user: str, connect: Callable[[], Awaitable[Bus]]) -> None:
        self._user = user
        self._connect = connect
        self._bus: Bus | None = None
        self._there = asyncio.Event()

    async def run(self) -> None:
        """Connect, however long that takes. Raises what trying again cannot mend: BusError, ConfigError."""
        while self._bus is None:
            try:
                self._bus = await self._connect()
            except UnavailableError as error:
                _LOG.warning("the node goes on without the bus: %s", error)
        self._there.set()

    @property
    def user(self) -> str:
        """The identity under which it connects."""
        return self._user

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send."""
        await self._now().publish(subject, data, reply=reply)

    async def send(self, subject: str, data: bytes, *, message_id: str = "", ttl: float = 0) -> asyncio.Future[int]:
        """Put a message on the wire."""
        return await self._now().send(subject, data, message_id=message_id, ttl=ttl)

    async def send_chain(self, links: Sequence[Link], previous_id: str) -> asyncio.Future[int]:
        """Put a chain on the wire."""
        return await self._now().send_chain(links, previous_id)

    async def append(self, subject: str, data: bytes, *, message_id: str = "") -> int:
        """Add to a stream."""
        return await self._now().append(subject, data, message_id=message_id)

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Bring a stream to `spec`."""
        await self._now().ensure_stream(spec)

    async def last_message(self, stream: str) -> Message | None:
        """Return a stream's newest message."""
        return await self._now().last_message(stream)

    async def purge(self, stream: str, subject: str = "") -> None:
        """Remove messages."""
        await self._now().purge(stream, subject)

    async def request(self, subject: str, data: bytes, *, timeout: float = 5) -> bytes:
        """Return an answer."""
        return await self._now().request(subject, data, timeout=timeout)

    def new_inbox(self) -> str:
        """Return a fresh subject."""
        return self._now().new_inbox()

    async def follow(self, stream: str, subjects: Sequence[str]) -> AsyncGenerator[Message | Signal]:
        """Follow a stream, from the connection on."""
        async with aclosing((await self._later()).follow(stream, subjects)) as messages:
            async for message in messages:
                yield message

    async def work(
        self, stream: str, name: str, *, ack_wait: float = 30, in_flight: int = 256
    ) -> AsyncGenerator[Delivery]:
        """Take part in the work of a stream, from the connection on."""
        bus = await self._later()
        async with aclosing(bus.work(stream, name, ack_wait=ack_wait, in_flight=in_flight)) as deliveries:
            async for delivery in deliveries:
                yield delivery

    async def serve(self, subject: str, handler: Handler, *, service: str = "", in_flight: int = 256) -> Subscription:
        """Answer requests; this waits for the connection."""
        return await (await self._later()).serve(subject, handler, service=service, in_flight=in_flight)

    @asynccontextmanager
    async def subscribe(self, subject: str, *, queue_limit: int = 4096) -> AsyncGenerator[AsyncGenerator[Message]]:
        """Listen; this waits for the connection."""
        async with (await self._later()).subscribe(subject, queue_limit=queue_limit) as messages:
            yield messages

    async def close(self) -> None:
        """Disconnect, if there ever was a connection."""
        if self._bus is not None:
            await self._bus.close()

    def _now(self) -> Bus:
        if self._bus is None:
            raise UnavailableError("there has been no connection to the bus yet")
        return self._bus

    async def _later(self) -> Bus:
        await self._there.wait()
        return self._now()
