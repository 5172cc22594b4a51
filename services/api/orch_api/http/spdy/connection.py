"""The server's end of a SPDY/3.1 connection, as Kubernetes' clients (Go's spdystream) expect it.

They wait for a SYN_REPLY before they use a stream. They neither send WINDOW_UPDATE nor heed it, so no window is kept
here either: a stream that nobody reads holds back its connection once 256 KiB of it wait, and is reset when that takes
longer than anyone's patience. A peer that answers no PING is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from orch.clock import Clock
from orch.errors import StreamClosedError
from orch.spdy.frames import (
    CANCEL,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Data,
    Frame,
    FrameReader,
    FrameWriter,
    GoAway,
    Headers,
    Ping,
    RstStream,
    SynReply,
    SynStream,
)
from orch.spdy.headers import ProtocolError
from orch_api.http.links import STALLED, Link

_log = logging.getLogger(__name__)

MAX_STREAMS: Final = 1024
"""Streams that may be open in one connection: a port-forward takes two for each connection."""
WINDOW: Final = 256 << 10
"""Bytes of a stream that may wait to be read before the whole connection is held back."""
PING_INTERVAL: Final = 15.0
SILENCE: Final = 45.0
"""Seconds without a byte after which the peer is gone: it has not answered three PINGs."""
IDLE: Final = 4 * 3600.0
"""Seconds without a stream opened or data on one, either way, after which a connection is closed, as kubelet does."""

_CHUNK: Final = 32 << 10
_LINGER: Final = 2.0


class SpdyStream:
    """A stream that the client opened; a Link. A stream that was reset, by either side, raises StreamClosedError."""

    def __init__(self, connection: SpdyConnection, number: int, headers: Mapping[str, str], *, ended: bool) -> None:
        self.number = number
        self.headers = headers
        self._connection = connection
        self._arrived: deque[bytes] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._remote_ended = ended
        self._local_ended = False
        self._broken = ""

    async def accept(self) -> None:
        """Let the client use the stream."""
        await self._connection.send(SynReply(self.number))

    async def read(self) -> bytes:
        """Return what the client sent next, b"" after its end. Raises StreamClosedError."""
        while not self._arrived:
            if self._remote_ended:
                return b""
            if self._broken:
                raise StreamClosedError(self._broken)
            self._wake.clear()
            await self._wake.wait()
        data = self._arrived.popleft()
        self._waiting -= len(data)
        self._room.set()
        return data

    async def write(self, data: bytes) -> None:
        """Send data. Raises StreamClosedError."""
        for start in range(0, len(data), _CHUNK):
            if self._broken or self._local_ended:
                raise StreamClosedError(self._broken or "the stream was ended by this side")
            await self._connection.send(Data(self.number, data[start : start + _CHUNK]))

    async def end(self) -> None:
        """End this side's half of the stream."""
        if self._local_ended or self._broken:
            return
        self._local_ended = True
        await self._connection.send(Data(self.number, b"", fin=True))
        self._forget_if_over()

    async def close(self) -> None:
        """Reset the stream unless both sides have ended it."""
        await self.reset(CANCEL)

    async def reset(self, status: int) -> None:
        """Reset the stream; nothing if it is over."""
        over = bool(self._broken) or (self._local_ended and self._remote_ended)
        self.break_off("the stream was reset by this side")
        if not over:
            await self._connection.send(RstStream(self.number, status))

    async def take(self, data: bytes, *, fin: bool) -> bool:
        """Take what came; return False if the peer sent on after its end, or if nobody has read for too long."""
        if self._broken:
            return True  # what was under way when the stream was reset
        if self._remote_ended:
            return False
        if data:
            self._arrived.append(data)
            self._waiting += len(data)
        self._remote_ended = fin
        self._wake.set()
        self._forget_if_over()
        return await self._has_room()

    def break_off(self, problem: str) -> None:
        """Take note that nothing more comes or goes; what has arrived is still read."""
        if not (self._local_ended and self._remote_ended):
            self._broken = self._broken or problem
        self._wake.set()
        self._room.set()
        self._connection.forget(self.number)

    async def _has_room(self) -> bool:
        try:
            async with asyncio.timeout(STALLED):
                while self._waiting > WINDOW and not self._broken:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            return False
        return True

    def _forget_if_over(self) -> None:
        if self._local_ended and self._remote_ended:
            self._connection.forget(self.number)


class SpdyConnection:
    """A client's connection over a link; an async context manager. Its streams are the client's to open."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._writer = FrameWriter()
        self._turn = asyncio.Lock()
        self._streams: dict[int, SpdyStream] = {}
        self._offered: deque[SpdyStream] = deque()
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._last = 0
        self._pings = 0
        self._heard = self._used = clock.monotonic()
        self._holding_back = False
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._receive(), name="SPDY frames"),
            loop.create_task(self._watch(), name="SPDY keep-alive"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def accept(self) -> SpdyStream | None:
        """Return the next stream that the client opens, to be accepted or reset; None when the connection is over."""
        while not self._offered:
            if self._over.is_set():
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._offered.popleft()

    async def wait_over(self) -> None:
        """Return when the client is gone."""
        await self._over.wait()

    async def close(self) -> None:
        """Tell the client that this is the end, give it a moment to leave by itself, and close the link."""
        if self._closing:
            return
        self._closing = True
        try:
            async with asyncio.timeout(_LINGER):
                await self.send(GoAway(self._last))
                # Closing at once could destroy what the client has not read yet.
                await self._over.wait()
        except (TimeoutError, StreamClosedError) as error:
            _log.debug("a SPDY client was not there for the goodbye: %s", error)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._finish("the connection was closed")
            await self._link.close()

    async def send(self, frame: Frame) -> None:
        """Send a frame. Raises StreamClosedError when the client is gone or takes nothing."""
        if self._over.is_set():
            raise StreamClosedError("the SPDY connection is over")
        if not isinstance(frame, Ping):
            self._used = self._clock.monotonic()
        async with self._turn:
            await self._link.write(self._writer.encode(frame))

    def forget(self, number: int) -> None:
        """Take note that a stream is over."""
        self._streams.pop(number, None)

    async def _receive(self) -> None:
        reader = FrameReader()
        problem = "the client closed the connection"
        try:
            while data := await self._link.read():
                self._heard = self._clock.monotonic()
                for frame in reader.feed(data):
                    await self._take(frame)
        except ProtocolError as error:
            problem = f"the client broke the rules of SPDY: {error}"
            _log.info("%s", problem)
        except StreamClosedError as error:
            problem = str(error)
        finally:
            self._finish(problem)

    async def _take(self, frame: Frame) -> None:
        match frame:
            case Data():
                await self._take_data(frame.stream, frame.data, fin=frame.fin)
            case Headers():
                await self._take_data(frame.stream, b"", fin=frame.fin)
            case SynStream():
                await self._offer(frame)
            case RstStream():
                if (stream := self._streams.get(frame.stream)) is not None:
                    stream.break_off("the client reset the stream")
            case Ping():
                if frame.id % 2:
                    await self.send(frame)
            case _:
                # SETTINGS and WINDOW_UPDATE govern windows, of which there are none; after GOAWAY no stream comes,
                # and the client closes the connection when those that are open are over.
                return

    async def _take_data(self, number: int, data: bytes, *, fin: bool) -> None:
        self._used = self._clock.monotonic()
        stream = self._streams.get(number)
        if stream is None:
            return  # sent before the client knew that the stream is over
        self._holding_back = True
        try:
            if not await stream.take(data, fin=fin):
                await stream.reset(CANCEL)
        finally:
            self._holding_back = False
            self._heard = self._clock.monotonic()

    async def _offer(self, frame: SynStream) -> None:
        self._used = self._clock.monotonic()
        number = frame.stream
        if number % 2 == 0 or number <= self._last:
            await self.send(RstStream(number, PROTOCOL_ERROR))
            return
        self._last = number
        if len(self._streams) >= MAX_STREAMS or self._closing:
            await self.send(RstStream(number, REFUSED_STREAM))
            return
        stream = SpdyStream(self, number, frame.headers, ended=frame.fin)
        self._streams[number] = stream
        self._offered.append(stream)
        self._wake.set()

    async def _watch(self) -> None:
        """Ask the client for a sign of life now and then, and end the connection when there is none."""
        while not self._over.is_set():
            await self._clock.sleep(PING_INTERVAL)
            now = self._clock.monotonic()
            if now - self._heard >= SILENCE and not self._holding_back:
                self._finish(f"the client is silent for {SILENCE:g} s")
                return
            if now - self._used >= IDLE:
                self._finish(f"the connection is idle for {IDLE:g} s")
                return
            self._pings = (self._pings + 2) & 0x7FFF_FFFE or 2
            try:
                await self.send(Ping(self._pings))
            except StreamClosedError as error:
                _log.debug("a SPDY client is gone: %s", error)
                return

    def _finish(self, problem: str) -> None:
        if self._over.is_set():
            return
        self._over.set()
        self._wake.set()
        for stream in list(self._streams.values()):
            stream.break_off(problem)
