"""TLS over a link: what a proxied request needs to reach a pod that speaks HTTPS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

from orch.errors import StreamClosedError
from orch_api.http.links import Link

_READ: Final = 64 << 10
_HANDSHAKE_DEADLINE: Final = 10.0

ResultT = TypeVar("ResultT")


class TlsLink:
    """The client's end of TLS over another link. Kubernetes does not verify pods' certificates either."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._turn = asyncio.Lock()

    async def handshake(self) -> None:
        """Agree on keys. Raises StreamClosedError, and what the link raises."""
        try:
            async with asyncio.timeout(_HANDSHAKE_DEADLINE):
                await self._do(self._tls.do_handshake)
        except TimeoutError as error:
            raise StreamClosedError("net/http: TLS handshake timeout") from error
        except ssl.SSLZeroReturnError as error:  # how Python 3.11's first patches tell of an end in mid-handshake
            raise StreamClosedError("the connection ended without a goodbye") from error

    async def read(self) -> bytes:
        """Return what came next, b"" at the end."""
        try:
            return await self._do(lambda: self._tls.read(_READ))
        except ssl.SSLZeroReturnError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send."""
        await self._do(lambda: self._tls.write(data))

    async def end(self) -> None:
        """Do nothing: half of a TLS connection cannot be closed."""

    async def close(self) -> None:
        """Close the link."""
        await self._link.close()

    async def _do(self, step: Callable[[], ResultT]) -> ResultT:
        """Take a step of TLS as soon as what it needs has come; send what it has to say."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._link.read()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except (ssl.SSLEOFError, ssl.SSLSyscallError) as error:
                raise StreamClosedError("the connection ended without a goodbye") from error
            except ssl.SSLZeroReturnError:
                raise
            except ssl.SSLError as error:
                raise StreamClosedError(f"tls: {error.reason or error}") from error
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        async with self._turn:
            if data := self._outgoing.read():
                await self._link.write(data)
