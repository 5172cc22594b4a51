"""HTTP/1.1 connections that become something else: the 101 answer, and the raw connection behind it.

uvicorn knows WebSocket only. For any other protocol it hands the request to the application as a plain one; here the
scope of such a request carries an Upgrade, by which the application takes the connection over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSet, Sequence
from typing import Any, Final

from orch.errors import StreamClosedError
from orch_api.http.links import STALLED

UPGRADE: Final = "orch.upgrade"
"""The scope's key of the Upgrade that a request offers; absent when it offers none."""

_LIMIT: Final = 64 << 10
"""Bytes that may wait to be read; the transport is paused at twice as much."""
_READ: Final = 64 << 10
_CLOSE_TIMEOUT: Final = 5.0

Header = tuple[bytes, bytes]
TakeOver = Callable[[], tuple[asyncio.Transport, bytes]]


class Upgrade:
    """What a client offers to speak instead of HTTP. `take_over` gives (transport, what was read of it too much)."""

    def __init__(self, protocol: str, take_over: TakeOver, connections: MutableSet[Any]) -> None:
        self.protocol = protocol.lower()
        self._take_over = take_over
        self._connections = connections

    async def accept(self, headers: Sequence[Header]) -> RawLink:
        """Answer 101 with `headers`, Connection and Upgrade among them; return the connection behind.

        Raises StreamClosedError when the client has left.
        """
        transport, early = self._take_over()
        if transport.is_closing():
            raise StreamClosedError("the client has left")
        reader = asyncio.StreamReader(limit=_LIMIT)
        protocol = _RawProtocol(reader, self._connections)
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        if early:
            reader.feed_data(early)
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        link = RawLink(reader, writer)
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        await link.write(b"HTTP/1.1 101 Switching Protocols\r\n" + head + b"\r\n")
        transport.resume_reading()
        return link


class _RawProtocol(asyncio.StreamReaderProtocol):
    """A connection that was taken over, still among those that uvicorn closes when it ends."""

    def __init__(self, reader: asyncio.StreamReader, connections: MutableSet[Any]) -> None:
        super().__init__(reader)
        self._connections = connections
        self._raw: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        super().connection_made(transport)
        self._raw = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell readers and writers."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close, because the server ends."""
        if self._raw is not None:
            self._raw.close()


class RawLink:
    """A raw connection as a Link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what came next, b"" at the end. Raises StreamClosedError when the connection broke."""
        try:
            return await self._reader.read(_READ)
        except OSError as error:
            raise StreamClosedError(f"the connection broke: {error}") from error

    async def write(self, data: bytes) -> None:
        """Send. Raises StreamClosedError when the client has left, or takes nothing for minutes."""
        if self._writer.is_closing():
            raise StreamClosedError("the client has left")
        self._writer.write(data)
        try:
            async with asyncio.timeout(STALLED):
                await self._writer.drain()
        except TimeoutError as error:
            self._writer.transport.abort()
            raise StreamClosedError(f"the client took nothing for {STALLED:g} s") from error
        except OSError as error:
            raise StreamClosedError(f"the connection broke: {error}") from error

    async def end(self) -> None:
        """Close what can be closed by halves; TLS cannot."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def close(self) -> None:
        """Close the connection once what was written is sent; at once when that takes long."""
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            return  # the client was faster; closed is closed
