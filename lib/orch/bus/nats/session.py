"""The client of one connection to NATS: nats-py's, with a transport that speaks TLS from the first byte.

Messages take a shorter way in and out than through nats-py: see `reader` and `Session.send`.

nats-py upgrades a plain connection to TLS. When that is cut short, asyncio leaves a transport behind that nobody can
close, and closing the plain half waits for ever. Here there is one transport, which can be closed at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import ParseResult

from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from orch.bus.nats.reader import Deliver, Reader
from orch.errors import BusError

_log = logging.getLogger(__name__)

MINIMUM_VERSION: Final = (2, 10)
_GOODBYE_TIMEOUT: Final = 1.0
_LOOK_AGAIN: Final = 0.1
_MOST_PENDING: Final = 1 << 20
"""Bytes that may wait to be written before whoever sends waits, too."""
_SUBJECT: Final = re.compile(r"[^\s.]+(?:\.[^\s.]+)*")
_HEADER: Final = re.compile(r"[!-9;-~]+: [^\r\n]*")


class Session(Client):
    """A client for a single connection. With `tls`, encrypted before a word is said."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._wire = _Wire(tls)
        self._transport = self._wire
        self._listeners: dict[int, Deliver] = {}
        self._ps = self._reader = Reader(self, self._listeners)

    async def listen(self, subject: str, queue: str, deliver: Deliver) -> Subscription:
        """Call `deliver` for each message on `subject`, on the loop, as it is read."""
        number = self._sid + 1  # what `subscribe` takes: the first message may come before it returns
        self._listeners[number] = deliver
        try:
            return await self.subscribe(  # pyright: ignore[reportUnknownMemberType] - a bare Future
                subject, queue=queue
            )
        except nats_errors.Error:
            del self._listeners[number]
            raise

    async def send(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str] | None) -> None:
        """Put a message on the wire. Raises nats-py's errors."""
        if not self.is_connected:
            raise nats_errors.ConnectionClosedError
        if _SUBJECT.fullmatch(subject) is None:
            raise nats_errors.BadSubjectError
        if len(data) > self._max_payload:
            raise nats_errors.MaxPayloadError
        if headers:
            head = _head(headers)
            line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n".encode()
            command = b"".join((line, head, data, b"\r\n"))
        else:
            command = b"".join((f"PUB {subject} {reply} {len(data)}\r\n".encode(), data, b"\r\n"))
        self._pending.append(command)
        self._pending_data_size += len(command)
        assert self._flush_queue is not None  # noqa: S101 - a connected client has one
        if self._flush_queue.empty() or self._pending_data_size > _MOST_PENDING:
            await self._flush_pending(force_flush=self._pending_data_size > _MOST_PENDING)

    async def answers(self, patience: float) -> bool:
        """Say whether the server sends anything within `patience` seconds of a ping.

        Its pong stands behind all that was sent before. What came while this process was too busy to read counts.
        """
        heard = self._reader.heard
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        # nats-py's own rtt cancels this future, at which a late pong ends the connection.
        await self._send_ping(pong)  # pyright: ignore[reportUnknownMemberType] - a bare Future
        await asyncio.wait((pong,), timeout=patience)
        if not pong.done() and self._reader.heard == heard:
            await asyncio.sleep(_LOOK_AGAIN)
        return self._reader.heard != heard

    async def end(self) -> None:
        """Close for good, in order if that is quick: a frozen server does not answer the end of TLS."""
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT):
                await self.close()
        except (TimeoutError, nats_errors.Error, OSError) as error:
            _log.debug("A connection to NATS did not close in order: %s", error)
        finally:
            self._wire.abort()

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._listeners.pop(sid, None)

    def check_version(self) -> None:
        """Raise BusError when the server is too old."""
        version = self.connected_server_version
        if (version.major, version.minor) < MINIMUM_VERSION:
            needed = ".".join(map(str, MINIMUM_VERSION))
            found = f"{version.major}.{version.minor}.{version.patch}"
            raise BusError(f"the NATS server is version {found}; orch needs {needed} or newer")


class _Wire(TcpTransport):
    """A TCP connection, encrypted or not from its beginning to its end."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._tls = tls

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        """Open the connection."""
        async with asyncio.timeout(connect_timeout):
            reader, writer = await asyncio.open_connection(uri.hostname, uri.port, limit=buffer_size, ssl=self._tls)
        self._io_reader, self._io_writer = reader, writer

    async def connect_tls(self, *_: Any, **__: Any) -> None:
        """Do nothing: it is encrypted already."""

    def writelines(self, payload: Sequence[bytes]) -> None:
        """Write in one piece: each piece would become a record of TLS of its own."""
        self.write(b"".join(payload))

    def abort(self) -> None:
        """Close at once."""
        # Python 3.11's first patches forget the connection when it is closed twice, and cannot abort it any more.
        with contextlib.suppress(AttributeError):
            if self._io_writer is not None:
                self._io_writer.transport.abort()

    def __bool__(self) -> bool:
        """Whether this transport is to be used: else nats-py would put its own in its place."""
        return True


def _head(headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(_HEADER.fullmatch, lines)):
        raise nats_errors.BadHeaderError(str(headers))
    return "\r\n".join(("NATS/1.0", *lines, "\r\n")).encode()
