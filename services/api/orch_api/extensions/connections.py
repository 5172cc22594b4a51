"""Connections to servers that are asked often, such as webhooks: kept open between questions."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Final

import h11
from prometheus_client import Counter

from orch.clock import Clock
from orch_api.extensions.https import MAX_HEAD, Answer, Request, connect, send

CONNECTIONS: Final = Counter(
    "orch_api_outgoing_connections", "Connections that questions were asked on, by where they came from", ("origin",)
)

_IDLE_SECONDS: Final = 60.0
_SWEEP_SECONDS: Final = 15.0
_MAX_IDLE: Final = 4
"""Of one server."""
_MAX_SERVERS: Final = 64

_Key = tuple[str, int, str, ssl.SSLContext | None]


class _Idle:
    """A connection that waits for the next question."""

    __slots__ = ("heard", "reader", "since", "state", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float) -> None:
        self.reader = reader
        self.writer = writer
        self.state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.since = since
        self.heard = False
        """Whether anything was answered to the last question."""

    @property
    def usable(self) -> bool:
        """Whether the other side has left it open."""
        return not self.writer.is_closing() and not self.reader.at_eof()


class Connections:
    """Asks servers. `run` closes what nobody needs any more, and everything when it ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[_Key, list[_Idle]] = {}
        self._closed = False

    async def run(self) -> None:
        """Close idle connections, until cancelled."""
        try:
            while True:
                await self._clock.sleep(_SWEEP_SECONDS)
                self._sweep(self._clock.monotonic() - _IDLE_SECONDS)
        finally:
            self._closed = True
            self._sweep(float("inf"))

    async def ask(self, request: Request, limit: int) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises OSError, and ValueError for a body of more than `limit` bytes.

        A connection that was kept may have been closed by the server meanwhile: then a new one is made, once.
        """
        kept = self._take(_key(request))
        if kept is not None:
            CONNECTIONS.labels("kept").inc()
            try:
                return await self._ask_on(kept, request, limit)
            except (ConnectionError, ssl.SSLError):
                if kept.heard:
                    raise  # it had begun to answer
        CONNECTIONS.labels("new").inc()
        reader, writer = await connect(request)
        return await self._ask_on(_Idle(reader, writer, 0.0), request, limit)

    async def _ask_on(self, connection: _Idle, request: Request, limit: int) -> tuple[int, bytes]:
        done = False
        answer = Answer(connection.reader, connection.state, request.timeout)
        try:
            await send(connection.writer, connection.state, request, lasting=True)
            await answer.begin()
            body = await answer.body(limit)
            done = True
        finally:
            connection.heard = answer.heard
            if not done or not self._keep(_key(request), connection):
                connection.writer.transport.abort()
        return answer.status, body

    def _take(self, key: _Key) -> _Idle | None:
        some = self._idle.get(key, [])
        while some:
            found = some.pop()
            if found.usable:
                return found
            found.writer.transport.abort()
        self._idle.pop(key, None)
        return None

    def _keep(self, key: _Key, connection: _Idle) -> bool:
        """Keep a connection whose answer is complete, if it may and there is room; return whether it was kept."""
        state = connection.state
        if self._closed or state.our_state is not h11.DONE or state.their_state is not h11.DONE:
            return False
        some = self._idle.get(key)
        if some is None:
            if len(self._idle) >= _MAX_SERVERS:
                return False
            some = self._idle[key] = []
        if len(some) >= _MAX_IDLE or not connection.usable:
            return False
        state.start_next_cycle()
        connection.since = self._clock.monotonic()
        some.append(connection)
        return True

    def _sweep(self, before: float) -> None:
        for key, some in list(self._idle.items()):
            for one in _older(some, before):
                some.remove(one)
                one.writer.transport.abort()
            if not some:
                del self._idle[key]


def _key(request: Request) -> _Key:
    return request.host, request.port, request.server_name, request.tls


def _older(some: list[_Idle], before: float) -> Iterator[_Idle]:
    return iter([one for one in some if one.since < before or not one.usable])
