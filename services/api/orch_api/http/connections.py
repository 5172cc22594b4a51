"""What a connection may take: the size of a request's head, how long it takes to come, how long nothing is read.

A reader that takes nothing for half a minute is cut off, one of a log or a command for five: a person may have stopped
it. Until then it holds at most the answer that it is being sent: further events of a watch, or output of a command,
wait for it outside, where they are bounded too.

All connections are looked at together every few seconds, so none of this costs a timer a request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from functools import partial
from typing import Final

from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from orch_api.http.audience import PUSH, push_chunk
from orch_api.http.links import STALLED
from orch_api.http.whole_answers import ANSWER, answer_whole

CUT_OFF: Final = Counter("orch_api_connections_cut_off", "Connections that were closed for being too slow", ("reason",))

MAX_HEAD: Final = 1 << 20
"""Bytes of a request's line and headers together; Go's limit, and so Kubernetes'."""

HEAD_SECONDS: Final = 32.0
READ_SECONDS: Final = 30.0
STREAM_SECONDS: Final = STALLED

_STREAMS: Final = re.compile(r"/(log|exec|attach|portforward|proxy)(/|\?|$)")


class _Reader:
    """Whether the client reads: what waits to be written becomes less, at one look or between two."""

    __slots__ = ("_since", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._since = 0.0

    def reads(self, now: float) -> None:
        """Note that so much was read that there is room for more."""
        self._since = now

    def stands_still(self, transport: asyncio.Transport, now: float, url: str) -> bool:
        """Return whether nothing was read for too long, though there is something to read: what `url` answers."""
        before, self._size = self._size, transport.get_write_buffer_size()
        if not self._size or not before or self._size < before:
            self._since = now
        still = now - self._since
        return still > READ_SECONDS and (still > STREAM_SECONDS or _STREAMS.search(url) is None)


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose heads are bounded in size and time, and whose clients have to read."""

    url = b""
    _head = 0
    _head_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start serving a connection."""
        super().connection_made(transport)
        self._reader = _Reader()
        self._head_since = self.loop.time()

    def resume_writing(self) -> None:
        """Go on writing, as the client has read."""
        super().resume_writing()
        self._reader.reads(self.loop.time())

    def on_message_begin(self) -> None:
        """Start reading a request."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._head = 0
        self._head_since = None
        super().on_headers_complete()
        if "path" in self.scope:  # it is left to the WebSocket's protocol otherwise
            self.scope[ANSWER] = partial(answer_whole, self.cycle)  # type: ignore[typeddict-unknown-key]
            self.scope[PUSH] = partial(push_chunk, self.cycle)  # type: ignore[typeddict-unknown-key]

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it."""
        if self._head <= MAX_HEAD:
            super().send_400_response(msg)
            return
        self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def look(self, now: float) -> None:
        """Cut the connection off if it is too slow."""
        if self._head_since is not None and now - self._head_since > HEAD_SECONDS:
            _cut_off(self.transport, "head")
        elif self._reader.stands_still(self.transport, now, self.url.decode("latin-1")):
            _cut_off(self.transport, "reader")

    def takes(self, data: bytes) -> bool:
        """Return whether more of what is received may be read: a head that does not end is refused."""
        if self._head_since is not None:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.send_400_response("")
                return False
        return True


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket whose clients have to read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start serving a connection."""
        super().connection_made(transport)
        self._reader = _Reader()

    def resume_writing(self) -> None:
        """Go on writing, as the client has read."""
        super().resume_writing()
        self._reader.reads(self.loop.time())

    def look(self, now: float) -> None:
        """Cut the connection off if its client does not read."""
        if self._reader.stands_still(self.transport, now, self.request.path if self.handshake_initiated else ""):
            _cut_off(self.transport, "reader")


def _cut_off(transport: asyncio.Transport, reason: str) -> None:
    CUT_OFF.labels(reason).inc()
    transport.abort()


def look_after(connections: Collection[object], now: float) -> None:
    """Look at all connections: to be called every few seconds."""
    for connection in list(connections):
        if isinstance(connection, BoundedHttpProtocol | BoundedWebSocketProtocol):
            connection.look(now)
