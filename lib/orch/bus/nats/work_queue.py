"""Takes messages of a work queue through a durable pull consumer, as many at a time as there is room for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from orch.bus import jetstream
from orch.bus.nats.api import (
    STREAM_NOT_FOUND,
    ConsumerConfig,
    JetStream,
    JetStreamError,
    nanoseconds,
)
from orch.bus.nats.connection import Connection
from orch.bus.nats.delivery import message_of, positions
from orch.bus.nats.received import Received
from orch.bus.protocol import Delivery, Message
from orch.errors import UnavailableError

_log = logging.getLogger(__name__)

_PULL_EXPIRES: Final = 30.0
_HEARTBEAT: Final = 2.0
_SILENCE: Final = 5.0
_UNSETTLED_LIMIT: Final = 20000
"""How many messages all workers of one name together may hold; each bounds its own share far below."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_CONTROL: Final = "100"
_PULL_ENDS: Final = frozenset({"404", "408"})


class _Pull(msgspec.Struct, frozen=True):
    batch: int
    expires: int
    idle_heartbeat: int


class _Held:
    """What this worker holds; a message that is not settled in time counts no more, for the server gives it away."""

    def __init__(self, ack_wait: float, limit: int) -> None:
        self._ack_wait = ack_wait
        self._limit = limit
        self._due: dict[int, float] = {}
        self._changed = asyncio.Event()

    def take(self, sequence: int) -> None:
        self._due[sequence] = asyncio.get_running_loop().time() + self._ack_wait

    def settle(self, sequence: int) -> None:
        self._due.pop(sequence, None)
        self._changed.set()

    async def room(self) -> int:
        """Return how many messages there is room for, at least one."""
        while True:
            now = asyncio.get_running_loop().time()
            for sequence in [sequence for sequence, due in self._due.items() if due <= now]:
                del self._due[sequence]
            if len(self._due) < self._limit:
                return self._limit - len(self._due)
            self._changed.clear()
            try:
                async with asyncio.timeout(min(self._due.values()) - now):
                    await self._changed.wait()
            except TimeoutError:
                continue


class _NatsDelivery:
    """One message of a work queue."""

    def __init__(self, connection: Connection, message: Message, settled: Callable[[int], None]) -> None:
        self._connection = connection
        self._message = message
        self._settled = settled

    @property
    def message(self) -> Message:
        return self._message

    async def done(self) -> None:
        await self._settle(b"+ACK")

    async def retry(self, delay: float = 0) -> None:
        await self._settle(b'-NAK {"delay": %d}' % nanoseconds(delay) if delay else b"-NAK")

    async def _settle(self, verdict: bytes) -> None:
        await self._connection.publish(self._message.reply, verdict)
        self._settled(self._message.sequence)


class _Inbox:
    """Where pulled messages arrive."""

    def __init__(self) -> None:
        self._arrived: deque[Received] = deque()
        self._wake = asyncio.Event()
        self._lost = False

    def put(self, message: Received) -> None:
        self._arrived.append(message)
        self._wake.set()

    def lose(self) -> None:
        self._lost = True
        self._wake.set()

    async def next(self) -> Received | None:
        """Return the next message; None after the connection was lost or too long a silence."""
        while not self._arrived:
            if self._lost:
                return None
            self._wake.clear()
            try:
                async with asyncio.timeout(_SILENCE):
                    await self._wake.wait()
            except TimeoutError:
                return None
        return self._arrived.popleft()


async def work(
    connection: Connection, api: JetStream, stream: str, name: str, *, ack_wait: float, in_flight: int
) -> AsyncGenerator[Delivery]:
    """See Bus.work."""
    held = _Held(ack_wait, in_flight)
    pause = _FIRST_PAUSE
    while True:
        await connection.ready(None)
        try:
            await _create(api, stream, name, ack_wait)
            async with aclosing(_pull(connection, jetstream.next_messages(stream, name), held)) as deliveries:
                async for delivery in deliveries:
                    pause = _FIRST_PAUSE
                    yield delivery
        except (UnavailableError, JetStreamError) as error:
            if isinstance(error, JetStreamError) and error.code != STREAM_NOT_FOUND:
                raise
            _log.info("Work queue %s cannot be served yet: %s", stream, error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _pull(connection: Connection, subject: str, held: _Held) -> AsyncGenerator[Delivery]:
    """Yield messages until the consumer or the connection is lost. One pull at a time is under way."""
    inbox = _Inbox()
    reply = connection.new_inbox()
    listener = await connection.listen(reply, inbox.put, interrupted=inbox.lose)
    try:
        while True:
            batch = await held.room()
            pull = _Pull(batch, nanoseconds(_PULL_EXPIRES), nanoseconds(_HEARTBEAT))
            await connection.publish(subject, msgspec.json.encode(pull), reply=reply)
            while batch:
                raw = await inbox.next()
                if raw is None:
                    return
                status = raw.status
                if status == _CONTROL:
                    continue
                if status in _PULL_ENDS:
                    break
                if status:
                    _log.info("The pull on %s was ended: %s %s", subject, status, raw.head)
                    return
                batch -= 1
                message = message_of(raw, positions(raw.reply)[0])
                held.take(message.sequence)
                yield _NatsDelivery(connection, message, held.settle)
    finally:
        await connection.ignore(listener)


async def _create(api: JetStream, stream: str, name: str, ack_wait: float) -> None:
    config = ConsumerConfig(
        name=name,
        durable_name=name,
        deliver_policy="all",
        ack_policy="explicit",
        ack_wait=nanoseconds(ack_wait),
        max_ack_pending=_UNSETTLED_LIMIT,
    )
    await api.create_consumer(stream, config)
