"""Long-lived connections to a service on a unix socket: lines of a stream, and both directions of a hijacked one.

HTTP/1.0 keeps Go's server from chunking an answer, so a stream is plain bytes until its end.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from orch.errors import UnavailableError
from orch_agent.runtimes.protocol import STDERR, STDOUT, ContainerError

_CONNECT_TIMEOUT: Final = 5.0
_ANSWER_TIMEOUT: Final = 30.0
_CHUNK: Final = 32 << 10
_LINE_LIMIT: Final = 1 << 20
_FRAME_HEADER: Final = struct.Struct(">BxxxI")


class Wire:
    """A connection that has become a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls,
        socket: Path,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        hijack: bool = False,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Send a request and return the connection after the answer's headers.

        One with a body is hijacked, as is one without that says so: both directions are then a stream.
        Raises UnavailableError when nobody answers, ContainerError when the answer is an error.
        """
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LINE_LIMIT)
        except (OSError, TimeoutError) as error:
            raise UnavailableError(f"{socket}: {error or 'no answer'}") from error
        wire = cls(reader, writer)
        try:
            await wire._request(method, path, body, headers, hijack=hijack or body is not None)
        except BaseException:
            await wire.close()
            raise
        return wire

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str], *, hijack: bool
    ) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        version, upgrade = ("1.1", "Connection: Upgrade\r\nUpgrade: tcp\r\n") if hijack else ("1.0", "")
        others = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"{method} {path} HTTP/{version}\r\nHost: podman\r\n{upgrade}{others}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            self._writer.write(head.encode() + content)
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                status, *_ = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
                code = int(status.split()[1])
                if code >= 300:
                    problem = await self._reader.read(_CHUNK)
                    raise ContainerError(_message(problem) or status)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            raise UnavailableError(f"{method} {path}: {error or 'no answer'}") from error

    async def lines(self) -> AsyncGenerator[bytes]:
        """Yield the stream's lines until it ends."""
        try:
            while line := await self._reader.readline():
                yield line
        except (OSError, ValueError) as error:
            raise UnavailableError(f"the stream broke: {error}") from error

    async def raw(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what comes as STDOUT, as a terminal has only one output."""
        while data := await self._read():
            yield STDOUT, data

    async def frames(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield (STDOUT or STDERR, data) of a multiplexed stream."""
        while True:
            try:
                stream, length = _FRAME_HEADER.unpack(await self._reader.readexactly(_FRAME_HEADER.size))
                data = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return  # a command that ends while its input still comes resets the connection; its exit code tells
            except OSError as error:
                raise UnavailableError(f"the stream broke: {error}") from error
            yield (STDERR if stream == STDERR else STDOUT), data

    async def write(self, data: bytes) -> None:
        """Send; what the other side no longer takes is dropped, as its end shows in what it sends."""
        if self._writer.is_closing():
            return
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            self._writer.close()

    async def end(self) -> None:
        """Send nothing more; go on receiving."""
        if not self._writer.is_closing() and self._writer.can_write_eof():
            self._writer.write_eof()

    async def close(self) -> None:
        """Close both directions."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            # The other side was faster; closed is closed.
            return

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(_CHUNK)
        except ConnectionError:
            return b""
        except OSError as error:
            raise UnavailableError(f"the stream broke: {error}") from error


def _message(problem: bytes) -> str:
    """Return the message of Podman's error document, or the text as it is."""
    text = problem.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return text
    return str(document.get("message", text))
