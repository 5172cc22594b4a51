"""A client's end of SPDY/3.1, as client-go plays it: streams are used once they are replied to, windows are ignored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orch.spdy.frames import (
    Data,
    Frame,
    FrameReader,
    FrameWriter,
    GoAway,
    Ping,
    RstStream,
    SynReply,
    SynStream,
)


class ResetError(Exception):
    """The server reset a stream."""

    def __init__(self, status: int) -> None:
        super().__init__(f"reset with status {status}")
        self.status = status


class ClientStream:
    """A stream that the client opened."""

    def __init__(self, client: SpdyClient, number: int) -> None:
        self.number = number
        self._client = client
        self.replied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.arrived: asyncio.Queue[bytes | ResetError] = asyncio.Queue()

    async def send(self, data: bytes, *, fin: bool = False) -> None:
        await self._client.send(Data(self.number, data, fin))

    async def reset(self, status: int = 5) -> None:
        await self._client.send(RstStream(self.number, status))

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end."""
        async with asyncio.timeout(10):
            piece = await self.arrived.get()
        if isinstance(piece, ResetError):
            raise piece
        return piece

    async def read_all(self) -> bytes:
        """Return all that comes until the end."""
        content = b""
        while piece := await self.read():
            content += piece
        return content


class SpdyClient:
    """A connection over two functions: one sends bytes, the other returns the next ones, b"" at the end."""

    def __init__(
        self, write: Callable[[bytes], Awaitable[Any]], read: Callable[[], Awaitable[bytes]], *, pongs: bool = True
    ) -> None:
        self._write = write
        self._read = read
        self._pongs = pongs
        self._writer = FrameWriter()
        self._next = 1
        self.streams: dict[int, ClientStream] = {}
        self.frames: list[Frame] = []
        self.gone_away = asyncio.Event()
        self.ended = asyncio.Event()
        self._receiving = asyncio.ensure_future(self._receive())

    async def send(self, frame: Frame) -> None:
        await self._write(self._writer.encode(frame))

    async def begin(self, headers: Mapping[str, str], *, number: int = 0, fin: bool = False) -> ClientStream:
        """Open a stream without waiting for the reply."""
        number = number or self._next
        self._next = number + 2
        stream = self.streams[number] = ClientStream(self, number)
        await self.send(SynStream(number, headers, fin))
        return stream

    async def open(self, **headers: str) -> ClientStream:
        """Open a stream and wait for the reply. Raises ResetError."""
        stream = await self.begin(headers)
        async with asyncio.timeout(10):
            await stream.replied
        return stream

    async def close(self) -> None:
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)

    async def _receive(self) -> None:
        reader = FrameReader()
        while data := await self._read():
            for frame in reader.feed(data):
                self.frames.append(frame)
                await self._take(frame)
        self.ended.set()

    async def _take(self, frame: Frame) -> None:
        match frame:
            case SynReply():
                self.streams[frame.stream].replied.set_result(None)
            case Data():
                stream = self.streams[frame.stream]
                if frame.data:
                    stream.arrived.put_nowait(frame.data)
                if frame.fin:
                    stream.arrived.put_nowait(b"")
            case RstStream():
                error = ResetError(frame.status)
                stream = self.streams.get(frame.stream)
                if stream is not None and not stream.replied.done():
                    stream.replied.set_exception(error)
                elif stream is not None:
                    stream.arrived.put_nowait(error)
            case Ping():
                if frame.id % 2 == 0 and self._pongs:
                    await self.send(frame)
            case GoAway():
                self.gone_away.set()
            case _:
                pass
