"""HTTPS requests to servers that the api depends on: webhooks, aggregated APIs, registries, Prometheus.

The last may be asked over plain HTTP. Every connection passes the guard of outgoing requests; redirects are answers
like any other, and nobody follows them. What goes wrong on the way is an OSError: no connection, no trust
(ssl.SSLError), no answer in time (TimeoutError), an answer that is no HTTP (ConnectionError).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import h11
import msgspec

from orch_api.extensions.outgoing import Guard

Header = tuple[bytes, bytes]

MAX_HEAD: Final = 128 << 10
_READ: Final = 64 << 10


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, where. `server_name` is what the certificate must name; without `tls` there is none."""

    host: str
    port: int
    server_name: str
    tls: ssl.SSLContext | None
    guard: Guard
    method: str = "GET"
    target: bytes = b"/"
    headers: Sequence[Header] = ()
    body: bytes = b""
    connect_timeout: float = 5.0
    timeout: float | None = 30.0
    """Until the head of the answer, and between its pieces; None: for ever."""


class Answer:
    """What was answered; its body comes piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, state: h11.Connection, timeout: float | None) -> None:
        self._reader = reader
        self._state = state
        self._timeout = timeout
        self.status = 0
        self.headers: list[Header] = []
        self.heard = False
        """Whether anything came from the server."""

    async def begin(self) -> None:
        """Read the head."""
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise ConnectionError("the connection ended without an answer")
        self.status = event.status_code
        self.headers = [(bytes(name), bytes(value)) for name, value in event.headers]

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body. Raises OSError."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise ConnectionError("unexpected EOF")

    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises ValueError past `limit` bytes, OSError."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > limit:
                raise ValueError(f"the answer is longer than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def _next(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while True:
            try:
                event = self._state.next_event()
                if event is not h11.NEED_DATA:
                    return event
                async with asyncio.timeout(self._timeout):
                    piece = await self._reader.read(_READ)
                self.heard = self.heard or bool(piece)
                self._state.receive_data(piece)
            except h11.RemoteProtocolError as error:
                raise ConnectionError(f"malformed HTTP response: {error}") from error


@asynccontextmanager
async def ask(request: Request) -> AsyncGenerator[Answer]:
    """Send a request; yield the answer once its head is there. The connection ends with the context. Raises OSError."""
    reader, writer = await connect(request)
    try:
        state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        answer = Answer(reader, state, request.timeout)
        await send(writer, state, request, lasting=False)
        await answer.begin()
        yield answer
    finally:
        writer.transport.abort()


async def connect(request: Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an address of the request's host that the guard lets through. Raises OSError."""
    server_name = request.server_name if request.tls else None
    async with asyncio.timeout(request.connect_timeout):
        addresses = await request.guard.addresses(request.host, request.port)
        for address in addresses[:-1]:
            try:
                return await asyncio.open_connection(
                    address, request.port, ssl=request.tls, server_hostname=server_name
                )
            except ConnectionError:
                continue  # the host has others
        return await asyncio.open_connection(addresses[-1], request.port, ssl=request.tls, server_hostname=server_name)


async def send(writer: asyncio.StreamWriter, state: h11.Connection, request: Request, *, lasting: bool) -> None:
    """Send a request; a `lasting` connection is to stay open after the answer."""
    headers = [*request.headers, (b"content-length", b"%d" % len(request.body))]
    if not lasting:
        headers.append((b"connection", b"close"))
    try:
        head = state.send(h11.Request(method=request.method, target=request.target, headers=headers))
        body = state.send(h11.Data(data=request.body)) if request.body else b""
        end = state.send(h11.EndOfMessage())
    except h11.LocalProtocolError as error:
        raise ConnectionError(f"the request cannot be sent: {error}") from error
    writer.write(b"".join(piece or b"" for piece in (head, body, end)))
    async with asyncio.timeout(request.timeout):
        await writer.drain()


def trust(bundle: str | None) -> ssl.SSLContext:
    """Return how a server is verified: by certificates in PEM, or by those that the machine trusts.

    Raises ssl.SSLError for what are no certificates.
    """
    context = ssl.create_default_context(cadata=bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
