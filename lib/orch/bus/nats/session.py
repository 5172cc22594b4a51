"""The client of one connection to NATS: nats-py's, with a transport that speaks TLS from the first byte.

nats-py upgrades a plain connection to TLS. When that is cut short, asyncio leaves a transport behind that nobody can
close, and closing the plain half waits for ever. Here there is one transport, which can be closed at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Final
from urllib.parse import ParseResult

from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from orch.errors import BusError

_log = logging.getLogger(__name__)

MINIMUM_VERSION: Final = (2, 10)
_GOODBYE_TIMEOUT: Final = 1.0


class Session(Client):
    """A client for a single connection. With `tls`, encrypted before a word is said."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._wire = _Wire(tls)
        self._transport = self._wire

    async def end(self) -> None:
        """Close for good, in order if that is quick: a frozen server does not answer the end of TLS."""
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT):
                await self.close()
        except (TimeoutError, nats_errors.Error, OSError) as error:
            _log.debug("A connection to NATS did not close in order: %s", error)
        finally:
            self._wire.abort()

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

    def abort(self) -> None:
        """Close at once."""
        if self._io_writer is not None:
            self._io_writer.transport.abort()

    def __bool__(self) -> bool:
        """Whether this transport is to be used: else nats-py would put its own in its place."""
        return True
