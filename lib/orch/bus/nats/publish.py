"""Puts messages into streams: pipelined, in order, and refused when another writer came in between."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.bus.nats.api import JetStream, JetStreamError, check_answer
from orch.bus.nats.connection import NO_RESPONDERS, Connection
from orch.bus.nats.received import Received
from orch.bus.patterns import matches_any
from orch.bus.protocol import Link
from orch.errors import BusError, OrchError, StaleWriterError, UnavailableError

_PUBLISHED: Final = Counter("orch_bus_published_total", "Messages put into streams, by outcome.", ["outcome"])
_STORED, _FAILED = _PUBLISHED.labels("stored"), _PUBLISHED.labels("failed")

IN_FLIGHT: Final = 1024
"""Messages that may wait for their acknowledgement."""

_ACK_TIMEOUT: Final = 10.0
_EXPECTED_LAST_ID: Final = "Nats-Expected-Last-Msg-Id"
_WRONG_LAST_ID: Final = 10070
_WRONG_LAST_SEQUENCE: Final = 10071


class _Ack(msgspec.Struct, frozen=True):
    seq: int = 0


class Publisher:
    """Sends messages and turns their acknowledgements into sequences.

    A chain of fenced messages begins with a look at the stream: its first message names the sequence that must be the
    stream's last, which the server keeps for ever. The others name the id of the one before. (The server forgets the
    last id when it restarts later than the duplicate window, and cannot say "no id" of an empty stream.)
    """

    def __init__(self, connection: Connection, api: JetStream) -> None:
        self._connection = connection
        self._api = api
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._order = asyncio.Lock()
        self._patterns: dict[str, tuple[str, ...]] = {}
        self._chains: dict[str, str] = {}
        """The id that was sent last into each stream, as long as nothing came in between."""

    def know_stream(self, name: str, patterns: tuple[str, ...]) -> None:
        """Remember which subjects a stream takes."""
        self._patterns[name] = patterns

    def break_chains(self) -> None:
        """Look at the stream again before the next fenced message: the connection was lost."""
        self._chains.clear()

    async def send(self, link: Link) -> asyncio.Future[int]:
        """See Bus.send."""
        return await self._put(link, _headers(link, {}), "")

    async def send_chain(self, links: Sequence[Link], previous_id: str) -> asyncio.Future[int]:
        """See Bus.send_chain. Only the last message asks for an acknowledgement: the fence makes it speak for all."""
        async with self._order:
            stream = await self._stream_of(links[0].subject)
            try:
                fence = await self._fence(stream, previous_id)
            except StaleWriterError as error:
                return _failed(error)
            *others, last = links
            for link in others:
                await self._connection.publish(link.subject, link.data, headers=_headers(link, fence))
                fence = {_EXPECTED_LAST_ID: link.message_id}
            future = await self._put(last, _headers(last, fence), stream)
            self._chains[stream] = last.message_id
            return future

    async def _put(self, link: Link, headers: dict[str, str], chain: str) -> asyncio.Future[int]:
        subject, data = link.subject, link.data
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self._room.acquire()
        settled = False

        def settle(outcome: Received | OrchError) -> None:
            nonlocal settled
            settled = True
            self._room.release()
            self._settle(future, outcome, subject, chain)

        token, reply = self._connection.expect(subject, settle, timeout=_ACK_TIMEOUT)
        try:
            await self._connection.publish(subject, data, reply=reply, headers=headers)
        except BaseException:
            if not settled:
                self._connection.forget(token)
                self._room.release()
            future.cancel()
            raise
        return future

    def _settle(self, future: asyncio.Future[int], outcome: Received | OrchError, subject: str, chain: str) -> None:
        try:
            sequence = _sequence_of(outcome, subject)
        except OrchError as error:
            _FAILED.inc()
            self._chains.pop(chain, None)
            _fail(future, error)
        else:
            _STORED.inc()
            if not future.done():
                future.set_result(sequence)

    async def _fence(self, stream: str, previous_id: str) -> dict[str, str]:
        if previous_id and self._chains.get(stream) == previous_id:
            return {_EXPECTED_LAST_ID: previous_id}
        info = await self._api.stream_info(stream)
        last = await self._api.last_message(info)
        found = last.message_id if last is not None else ""
        if found != previous_id:
            raise StaleWriterError(f"the last message of stream {stream} is {found!r}, not {previous_id!r}")
        return {"Nats-Expected-Last-Sequence": str(info.state.last_seq)}

    async def _stream_of(self, subject: str) -> str:
        for name, patterns in self._patterns.items():
            if matches_any(patterns, subject):
                return name
        name = await self._api.stream_of(subject)
        if name is None:
            raise UnavailableError(f"no stream takes {subject}")
        self.know_stream(name, (await self._api.stream_info(name)).config.subjects)
        return name


def _headers(link: Link, fence: dict[str, str]) -> dict[str, str]:
    headers = dict(fence)
    if link.message_id:
        headers["Nats-Msg-Id"] = link.message_id
    if link.ttl:
        headers["Nats-TTL"] = str(math.ceil(link.ttl))
    return headers


def _sequence_of(outcome: Received | OrchError, subject: str) -> int:
    if isinstance(outcome, OrchError):
        raise outcome
    if outcome.status == NO_RESPONDERS:
        raise UnavailableError(f"no stream takes {subject}")
    try:
        check_answer(outcome.data, f"the message on {subject} was refused")
        return msgspec.json.decode(outcome.data, type=_Ack).seq
    except JetStreamError as error:
        if error.code in (_WRONG_LAST_ID, _WRONG_LAST_SEQUENCE):
            raise StaleWriterError(str(error)) from error
        raise
    except msgspec.DecodeError as error:
        raise BusError(f"the acknowledgement on {subject} is not understood: {error}") from error


def _failed(error: OrchError) -> asyncio.Future[int]:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    _fail(future, error)
    return future


def _fail(future: asyncio.Future[int], error: OrchError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever sent a thousand in a row looks at the first failure only
