"""The bus on NATS JetStream. Nothing outside this package knows that library."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from prometheus_client import Histogram

from orch.bus.mailbox import Mailbox
from orch.bus.nats.api import JetStream
from orch.bus.nats.connection import Connection
from orch.bus.nats.followers import follow
from orch.bus.nats.publish import Publisher
from orch.bus.nats.received import Received
from orch.bus.nats.service import Services, problem_of
from orch.bus.nats.work_queue import work
from orch.bus.protocol import Delivery, Handler, Link, Message, Signal, StreamSpec, Subscription
from orch.config import NatsConfig
from orch.errors import BusError, UnavailableError

_log = logging.getLogger(__name__)

_REQUESTS: Final = Histogram(
    "orch_bus_requests_seconds", "Time from a request to its answer, by its subject's last token.", ["verb"]
)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class NatsBus:
    """A connection to NATS; see orch.bus.protocol.Bus."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._api = JetStream(connection)
        self._publisher = Publisher(connection, self._api)
        self._services = Services(connection)
        self._ensured: dict[str, StreamSpec] = {}
        self._restoring: asyncio.Task[None] | None = None
        connection.restored = self._after_loss

    @classmethod
    async def connect(cls, config: NatsConfig, *, timeout: float = 10) -> NatsBus:
        """Return a bus that is connected.

        Raises UnavailableError if no server answers within `timeout`, BusError if it does not let this identity in.
        """
        connection = Connection(config)
        bus = cls(connection)
        await connection.open(timeout)
        return bus

    @property
    def user(self) -> str:
        """Return the identity of this connection."""
        return self._connection.user

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send without acknowledgement."""
        await self._connection.publish(subject, data, reply=reply)

    async def send(self, subject: str, data: bytes, *, message_id: str = "", ttl: float = 0) -> asyncio.Future[int]:
        """Put a message for a stream on the wire; the future is its acknowledgement."""
        return await self._publisher.send(Link(subject, data, message_id, ttl))

    async def send_chain(self, links: Sequence[Link], previous_id: str) -> asyncio.Future[int]:
        """Put fenced messages for one stream on the wire; the future is the last one's acknowledgement."""
        return await self._publisher.send_chain(links, previous_id)

    async def append(self, subject: str, data: bytes, *, message_id: str = "") -> int:
        """Add a message to the stream that takes `subject`."""
        return await (await self._publisher.send(Link(subject, data, message_id)))

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Create the stream or bring it to `spec`, now and after each loss of the connection.

        A stream in memory is gone after a restart of the server, one in files may be.
        """
        await self._api.ensure_stream(spec)
        self._publisher.know_stream(spec.name, spec.subjects)
        self._ensured[spec.name] = spec

    async def last_message(self, stream: str) -> Message | None:
        """Return the stream's newest message."""
        return await self._api.last_message(await self._api.stream_info(stream))

    async def purge(self, stream: str, subject: str = "") -> None:
        """Remove a stream's messages, all or those of one subject."""
        await self._api.purge(stream, subject)

    def follow(self, stream: str, subjects: Sequence[str]) -> AsyncGenerator[Message | Signal]:
        """Yield a snapshot between RESET and SYNCED, then live messages."""
        return follow(self._connection, self._api, stream, subjects)

    def work(self, stream: str, name: str, *, ack_wait: float = 30, in_flight: int = 256) -> AsyncGenerator[Delivery]:
        """Yield messages of a work queue, shared among all that use the same `name`."""
        return work(self._connection, self._api, stream, name, ack_wait=ack_wait, in_flight=in_flight)

    async def serve(self, subject: str, handler: Handler, *, service: str = "", in_flight: int = 256) -> Subscription:
        """Answer requests on `subject`."""
        return await self._services.serve(subject, handler, service=service, in_flight=in_flight)

    async def request(self, subject: str, data: bytes, *, timeout: float = 5) -> bytes:
        """Return the answer of whoever serves `subject`."""
        with _REQUESTS.labels(subject.rsplit(".", 1)[-1]).time():
            answer = await self._connection.ask(subject, data, timeout=timeout)
        problem = problem_of(answer)
        if problem:
            raise BusError(f"the server of {subject} failed: {problem}")
        return answer.data

    @asynccontextmanager
    async def subscribe(self, subject: str, *, queue_limit: int = 4096) -> AsyncGenerator[AsyncGenerator[Message]]:
        """Yield, within the context, what is published on `subject`."""
        mailbox = Mailbox(subject, queue_limit)

        def deliver(raw: Received) -> None:
            mailbox.put(Message(subject=raw.subject, data=raw.data, reply=raw.reply))

        listener = await self._connection.listen(subject, deliver, refused=mailbox.fail)
        try:
            await self._connection.confirm()
            async with aclosing(mailbox.messages()) as messages:
                yield messages
        finally:
            await self._connection.ignore(listener)

    def new_inbox(self) -> str:
        """Return a fresh subject under this identity's own prefix."""
        return self._connection.new_inbox()

    async def close(self) -> None:
        """Answer what is under way, wait for acknowledgements within limits, and disconnect."""
        if self._restoring is not None:
            self._restoring.cancel()
            await asyncio.gather(self._restoring, return_exceptions=True)
        try:
            await self._services.stop()
        finally:
            await self._connection.close()

    def _after_loss(self) -> None:
        self._publisher.break_chains()
        if self._ensured and (self._restoring is None or self._restoring.done()):
            self._restoring = asyncio.get_running_loop().create_task(self._restore_streams(), name="bus streams")

    async def _restore_streams(self) -> None:
        pause = _FIRST_PAUSE
        missing = dict(self._ensured)
        while missing:
            name, spec = next(iter(missing.items()))
            try:
                await self._api.ensure_stream(spec)
            except UnavailableError as error:
                _log.info("Stream %s cannot be checked yet: %s", name, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            except BusError as error:
                _log.error("Stream %s is not what it must be: %s", name, error)
            del missing[name]
