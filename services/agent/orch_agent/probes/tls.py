"""TLS over a connection to a pod, without asking who answers: kubelet's probes do not verify certificates."""

from __future__ import annotations

import ipaddress
import ssl
from typing import Final

from orch_agent.network.connections import Connection, DialError

_CHUNK: Final = 16 << 10


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_CONTEXT: Final = _unverified()


class TlsConnection:
    """An encrypted connection inside of another one."""

    def __init__(self, inner: Connection, host: str) -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        name = None if _is_address(host) else host
        self._tls = _CONTEXT.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    async def handshake(self) -> None:
        """Agree on keys. Raises DialError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._inner.read()
                if not data:
                    raise DialError("EOF") from None
                self._incoming.write(data)
            except ssl.SSLError as error:
                raise DialError(_said(error)) from error
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Return what came next, b"" at the end."""
        while True:
            try:
                return self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                data = await self._inner.read()
                if not data:
                    return b""
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise DialError(_said(error)) from error

    async def write(self, data: bytes) -> None:
        """Send."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise DialError(_said(error)) from error
        await self._flush()

    async def end(self) -> None:
        """Send nothing more."""
        await self._inner.end()

    async def close(self) -> None:
        """Close the connection underneath."""
        await self._inner.close()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._inner.write(data)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _said(error: ssl.SSLError) -> str:
    """Return an error as Go words the commonest one."""
    if error.reason == "WRONG_VERSION_NUMBER":
        return "http: server gave HTTP response to HTTPS client"
    return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
