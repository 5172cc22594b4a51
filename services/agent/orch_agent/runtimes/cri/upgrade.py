"""Connections to a CRI runtime's streaming server: an HTTP request that becomes SPDY/3.1."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

from orch.errors import UnavailableError
from orch.spdy.frames import Data, Frame, FrameReader, FrameWriter, GoAway, Ping, RstStream, SynReply, SynStream
from orch.spdy.headers import ProtocolError
from orch_agent.network.connections import DialError, TcpConnection, connect
from orch_agent.runtimes.protocol import ContainerError

_ANSWER_TIMEOUT: Final = 30.0
_HEAD_LIMIT: Final = 64 << 10
_CHUNK: Final = 32 << 10
_PROTOCOL: Final = "v4.channel.k8s.io"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104 - names, nothing is bound


class SpdyStreams:
    """Streams that this side opens, on one connection. What arrives is taken one frame at a time by `receive`."""

    def __init__(self, wire: TcpConnection, rest: bytes) -> None:
        self._wire = wire
        self._reader = FrameReader()
        self._writer = FrameWriter()
        self._arrived: deque[Frame] = deque(self._reader.feed(rest))
        self._turn = asyncio.Lock()
        self._next = 1

    @classmethod
    async def open(cls, url: str, namespace: str) -> Self:
        """Connect to `url`, of which the host is the runtime's, seen from a network namespace ("": our own).

        Raises UnavailableError when nobody is there, ContainerError for a refusal.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        if parts.scheme != "http":
            raise ContainerError(f"the runtime streams by {parts.scheme}: only plain http on this machine is spoken")
        addresses = ("127.0.0.1", "::1") if host in _LOOPBACK else (host,)
        try:
            wire = await connect(namespace, addresses, port)
        except DialError as error:
            raise UnavailableError(f"the runtime's streams: {error}") from error
        try:
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            rest = await _upgrade(wire, target, parts.netloc)
        except BaseException:
            await wire.close()
            raise
        return cls(wire, rest)

    async def create(self, headers: Mapping[str, str]) -> int:
        """Open a stream and return its number; its SynReply is to be received before it is used."""
        number = self._next
        self._next += 2
        await self.send(SynStream(number, headers))
        return number

    async def write(self, stream: int, data: bytes) -> None:
        """Send data on a stream."""
        for start in range(0, len(data), _CHUNK):
            await self.send(Data(stream, data[start : start + _CHUNK]))

    async def end(self, stream: int) -> None:
        """Send nothing more on a stream."""
        await self.send(Data(stream, b"", fin=True))

    async def send(self, frame: Frame) -> None:
        """Send a frame. Raises UnavailableError when the connection has ended."""
        try:
            async with self._turn:
                await self._wire.write(self._writer.encode(frame))
        except DialError as error:
            raise UnavailableError(f"the runtime's streams: {error}") from error

    async def receive(self) -> Data | SynReply | RstStream | None:
        """Return the next frame of a stream, None at the end of the connection."""
        while True:
            while self._arrived:
                frame = self._arrived.popleft()
                match frame:
                    case Data() | SynReply() | RstStream():
                        return frame
                    case Ping() if frame.id % 2 == 0:
                        await self.send(frame)
                    case _:
                        # Settings, windows, a goodbye: nothing that a side which opens four streams has to heed.
                        continue
            try:
                data = await self._wire.read()
                if not data:
                    return None
                self._arrived.extend(self._reader.feed(data))
            except DialError:
                return None  # a connection that is reset has ended
            except ProtocolError as error:
                raise ContainerError(f"the runtime's streams cannot be read: {error}") from error

    async def close(self) -> None:
        """Say goodbye and close."""
        try:
            await self.send(GoAway())
        except UnavailableError:
            pass  # the other side was faster; closed is closed
        finally:
            await self._wire.close()


async def _upgrade(wire: TcpConnection, target: str, host: str) -> bytes:
    """Have the connection become SPDY; return what has come of that already."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {_PROTOCOL}\r\nContent-Length: 0\r\n\r\n"
    )
    answer = b""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            await wire.write(head.encode("latin-1"))
            while b"\r\n\r\n" not in answer:
                piece = await wire.read()
                if not piece or len(answer) > _HEAD_LIMIT:
                    raise UnavailableError("the runtime's streams: the connection ended before the answer")
                answer += piece
            status, _, rest = answer.partition(b"\r\n\r\n")
            if status.split(b" ", 2)[1] == b"101":
                return rest
            while (piece := await wire.read()) and len(rest) < _HEAD_LIMIT:
                rest += piece
    except (DialError, TimeoutError) as error:
        raise UnavailableError(f"the runtime's streams: {error or 'no answer'}") from error
    raise ContainerError(rest.decode(errors="replace").strip() or status.splitlines()[0].decode("latin-1"))
