"""Duplex streams of frames between two services, for what is long and bulky: logs, exec, attach, port-forward.

A stream is opened by a request that carries the caller's inbox; the answer carries the server's. From then on each
side publishes Frames to the other's inbox, numbered from 1 without gaps:

- data, on a channel, in pieces of at most 64 KiB. A side sends only what the other has room for: 256 KiB at first,
  then as much more as each frame's `credit` grants. A frame costs its data and 64 bytes, so that a thousand tiny ones
  are bounded too.
- the end of a channel, and on channel 255 the end of everything, with a Status if something failed.
- an empty frame every 5 seconds, so that a peer that vanished is noticed within 15.

The bus may lose frames when a connection breaks; the gap in the numbers then ends the stream with StreamClosedError.
It stands on the Bus protocol alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge

from orch.bus import subjects
from orch.bus.protocol import Bus, Message, Subscription
from orch.clock import Clock, SystemClock
from orch.errors import (
    ApiError,
    BusError,
    InternalError,
    OrchError,
    ServiceUnavailableError,
    StreamClosedError,
    TooManyRequestsError,
    UnavailableError,
)
from orch.telemetry import current_trace, span
from orch_pb.v1.node_pb2 import Frame, StreamOpen

_log = logging.getLogger(__name__)

_OPEN: Final = Gauge("orch_bus_streams_open", "Frame streams that are open.", ["side"])
_BROKEN: Final = Counter("orch_bus_streams_broken_total", "Frame streams that ended without a goodbye.")

WINDOW: Final = 256 << 10
"""Bytes that may wait for a reader."""
CHUNK: Final = 64 << 10
"""Bytes of data in one frame."""
FRAME_COST: Final = 64
"""What a frame costs in addition to its data."""
KEEP_ALIVE: Final = 5.0
SILENCE: Final = 10.0
"""Seconds without a frame after which the peer is gone; looked at with every keep-alive, so noticed within 15."""
SEND_TIMEOUT: Final = 300.0
"""How long a sender waits for a reader that takes nothing, in seconds. A person may pause a log that long."""

_ALL_CHANNELS: Final = 255
_INBOX_LIMIT: Final = 2 * WINDOW // FRAME_COST + 1024
"""Frames that may wait in an inbox: those that credit allows, and grants, ends and keep-alives among them."""
_GOODBYE_TIMEOUT: Final = 2.0

StreamHandler = Callable[[bytes, "FrameStream"], Awaitable[None]]
Check = Callable[[bytes], Awaitable[None]]


class FrameStream:
    """One end of an open stream; an async context manager and an iterator of (channel, data).

    Data None is the channel's end. The iteration ends when the other side closed; it raises the ApiError that the
    other side gave as its reason, or StreamClosedError when it vanished or frames were lost.
    """

    def __init__(self, bus: Bus, clock: Clock, frames: AsyncGenerator[Message], owned: AsyncExitStack) -> None:
        self._bus = bus
        self._clock = clock
        self._frames = frames
        self._owned = owned
        self._peer = ""
        self._sent = 0
        self._received = 0
        self._heard = clock.monotonic()
        self._credit = 0
        self._granted = WINDOW
        self._consumed = 0
        self._arrived: deque[tuple[int, bytes | None]] = deque()
        self._ended: set[int] = set()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()
        self._finished = False
        self._over = asyncio.Event()
        self._failure: OrchError | None = None
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, peer: str, credit: int) -> None:
        """Begin to exchange frames with `peer`, who has room for `credit` bytes."""
        self._peer = peer
        self._add_credit(credit)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._receive(), name="stream frames"),
            loop.create_task(self._keep_alive(), name="stream keep-alive"),
        ]

    async def send(self, channel: int, data: bytes, *, timeout: float = SEND_TIMEOUT) -> None:
        """Send `data` on `channel` as fast as the reader takes it.

        Raises StreamClosedError when the other side is gone or has taken nothing for `timeout` seconds.
        """
        view = memoryview(data)
        while view:
            await self._await_credit(timeout)
            size = min(len(view), CHUNK, self._credit - FRAME_COST)
            self._credit -= size + FRAME_COST
            await self._put(Frame(channel=channel, data=bytes(view[:size])))
            view = view[size:]

    async def end(self, channel: int) -> None:
        """Say that nothing more will come on `channel`."""
        self._check_sendable()
        await self._put(Frame(channel=channel, end=True))

    async def wait_over(self) -> None:
        """Return when the other side has closed or is gone, also while what arrived waits to be read."""
        await self._over.wait()

    async def close(self, error: ApiError | None = None) -> None:
        """Close the stream, telling the other side why if something failed. Closing twice is nothing."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        try:
            if self._peer and not self._finished:
                async with asyncio.timeout(_GOODBYE_TIMEOUT):
                    status = error.encode() if error is not None else b""
                    await self._put(Frame(channel=_ALL_CHANNELS, end=True, status=status))
        except (TimeoutError, StreamClosedError) as problem:
            _log.info("The other side of a stream could not be told of its end: %s", problem)
        finally:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._finish(None)
            await self._owned.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(_reason(error))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, bytes | None]:
        while not self._arrived:
            if self._failure is not None:
                raise self._failure
            if self._finished:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        channel, data = self._arrived.popleft()
        if data is not None:
            await self._grant(len(data) + FRAME_COST)
        return channel, data

    async def _grant(self, cost: int) -> None:
        """Give back the room that was read, in halves of the window."""
        self._consumed += cost
        if self._consumed < WINDOW // 2 or self._finished or self._closed:
            return
        credit, self._consumed = self._consumed, 0
        self._granted += credit
        try:
            await self._put(Frame(credit=credit))
        except StreamClosedError as error:
            _log.debug("No more room was granted: %s", error)  # the reader hears of it after what has arrived

    async def _await_credit(self, timeout: float) -> None:
        self._check_sendable()
        if self._credit > FRAME_COST:
            return
        alarm = asyncio.ensure_future(self._clock.sleep(timeout))
        try:
            while self._credit <= FRAME_COST:
                self._room.clear()
                waiting = asyncio.ensure_future(self._room.wait())
                try:
                    await asyncio.wait((waiting, alarm), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                self._check_sendable()
                if alarm.done() and self._credit <= FRAME_COST:
                    raise StreamClosedError(f"the other side of the stream took nothing for {timeout:g} s")
        finally:
            alarm.cancel()

    async def _put(self, frame: Frame) -> None:
        async with self._turn:
            self._sent += 1
            frame.sequence = self._sent
            publishing = asyncio.ensure_future(self._bus.publish(self._peer, frame.SerializeToString()))
            try:
                await asyncio.shield(publishing)
            except asyncio.CancelledError:
                await asyncio.wait((publishing,))  # a number that was given must be sent, or the goodbye is not heard
                raise
            except (BusError, UnavailableError) as error:
                closed = _closed_by(error)
                self._break(closed)
                raise closed from error

    async def _receive(self) -> None:
        try:
            async for message in self._frames:
                self._heard = self._clock.monotonic()
                self._take(Frame.FromString(message.data))
                if self._finished:
                    return
        except DecodeError as error:
            problem = StreamClosedError("the other side of the stream sent what is no frame")
            problem.__cause__ = error
            self._break(problem)
        except (BusError, UnavailableError) as error:
            self._break(error if isinstance(error, StreamClosedError) else _closed_by(error))

    def _take(self, frame: Frame) -> None:
        self._received += 1
        if frame.sequence != self._received:
            raise StreamClosedError(f"frame {self._received} of the stream was lost: {frame.sequence} came")
        if frame.credit:
            self._add_credit(frame.credit)
        if frame.end and frame.channel == _ALL_CHANNELS:
            self._finish(ApiError.decode(frame.status) if frame.status else None)
            return
        if not frame.data and not frame.end:
            return
        if frame.channel in self._ended:
            raise StreamClosedError(f"the other side of the stream sent on channel {frame.channel} after its end")
        if frame.data:
            self._granted -= len(frame.data) + FRAME_COST
            if self._granted < 0:
                raise StreamClosedError("the other side of the stream sent more than there was room for")
            self._arrived.append((frame.channel, frame.data))
        if frame.end:
            self._ended.add(frame.channel)
            self._arrived.append((frame.channel, None))
        self._wake.set()

    async def _keep_alive(self) -> None:
        while True:
            await self._clock.sleep(KEEP_ALIVE)
            if self._clock.monotonic() - self._heard >= SILENCE:
                self._break(StreamClosedError(f"the other side of the stream is silent for {SILENCE:g} s"))
                return
            try:
                await self._put(Frame())
            except StreamClosedError as error:
                _log.debug("The keep-alive of a stream ended: %s", error)
                return

    def _add_credit(self, credit: int) -> None:
        self._credit += credit
        self._room.set()

    def _break(self, error: OrchError) -> None:
        if not self._finished and not self._closed:
            _BROKEN.inc()
        self._finish(error)

    def _finish(self, error: OrchError | None) -> None:
        """No frame will come any more; what arrived is still read."""
        if self._finished:
            return
        self._finished = True
        self._over.set()
        self._failure = error
        self._wake.set()
        self._room.set()

    def _check_sendable(self) -> None:
        if isinstance(self._failure, StreamClosedError):
            raise self._failure
        if self._finished or self._closed:
            raise StreamClosedError("the stream is closed") from self._failure


async def open_stream(
    bus: Bus, subject: str, request: bytes, *, timeout: float = 5, clock: Clock | None = None
) -> FrameStream:
    """Open a stream with whoever serves `subject`; to be used as an async context manager.

    Raises the ApiError of a refusal, UnavailableError when nobody serves the subject or none answers within `timeout`.
    """
    inbox = subjects.stream_inbox(bus.new_inbox(), subject)
    stream = await _listening(bus, inbox, clock or SystemClock(), "caller")
    try:
        opening = StreamOpen(inbox=inbox, credit=WINDOW, request=request, trace=current_trace())
        answer = await bus.request(subject, opening.SerializeToString(), timeout=timeout)
        accepted = _accepted(answer)
        stream.start(accepted.inbox, accepted.credit)
    except BaseException:
        await stream.close()
        raise
    return stream


async def serve_streams(
    bus: Bus,
    subject: str,
    handler: StreamHandler,
    *,
    check: Check | None = None,
    clock: Clock | None = None,
    limit: int = 256,
) -> Subscription:
    """Let callers open streams on `subject`; `handler` gets (request, stream), which is closed when it returns.

    `check` may refuse a request with an ApiError before the stream is opened. What `handler` raises is the reason that
    the caller sees. At most `limit` streams are open at a time; more are refused.
    """
    server = _StreamServer(bus, subject, handler, check, clock or SystemClock(), limit)
    return await server.start()


class _StreamServer:
    """The streams that were opened on one subject."""

    def __init__(
        self, bus: Bus, subject: str, handler: StreamHandler, check: Check | None, clock: Clock, limit: int
    ) -> None:
        self._bus = bus
        self._subject = subject
        self._handler = handler
        self._check = check
        self._clock = clock
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> Self:
        self._subscription = await self._bus.serve(self._subject, self._accept)
        return self

    async def stop(self) -> None:
        """Take no new streams and close the open ones."""
        if self._subscription is not None:
            await self._subscription.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, message: Message) -> bytes:
        opening = _parse_open(message.data)
        try:
            if len(self._tasks) >= self._limit:
                raise TooManyRequestsError(f"{self._limit} streams are open already")
            if self._check is not None:
                await self._check(opening.request)
        except ApiError as error:
            return StreamOpen(status=error.encode()).SerializeToString()
        inbox = self._bus.new_inbox()
        stream = await _listening(self._bus, inbox, self._clock, "server")
        stream.start(opening.inbox, opening.credit)
        task = asyncio.get_running_loop().create_task(self._run(opening, stream), name="stream handler")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return StreamOpen(inbox=inbox, credit=WINDOW).SerializeToString()

    async def _run(self, opening: StreamOpen, stream: FrameStream) -> None:
        parent = opening.trace if opening.HasField("trace") else None
        try:
            async with stream:
                with span(f"serve {self._subject}", parent=parent):
                    await self._handler(opening.request, stream)
        except StreamClosedError as error:
            _log.info("A stream was left by its caller: %s", error)
        except ApiError as error:
            _log.info("A stream was ended: %s", error)
        except Exception:  # noqa: BLE001 - a handler's fault ends its stream, not the server
            _log.exception("The handler of a stream failed")


async def _listening(bus: Bus, inbox: str, clock: Clock, side: str) -> FrameStream:
    """Return a stream that hears `inbox` but is not started."""
    async with AsyncExitStack() as stack:
        frames = await stack.enter_async_context(bus.subscribe(inbox, queue_limit=_INBOX_LIMIT))
        gauge = _OPEN.labels(side)
        gauge.inc()
        stack.callback(gauge.dec)
        return FrameStream(bus, clock, frames, stack.pop_all())
    raise AssertionError("an exit stack does not swallow")


def _accepted(answer: bytes) -> StreamOpen:
    opened = _parse_open(answer)
    if opened.status:
        raise ApiError.decode(opened.status)
    return opened


def _parse_open(data: bytes) -> StreamOpen:
    try:
        return StreamOpen.FromString(data)
    except DecodeError as error:
        raise BusError("a stream's first message is no StreamOpen") from error


def _closed_by(error: OrchError) -> StreamClosedError:
    closed = StreamClosedError(f"the stream broke off: {error}")
    closed.__cause__ = error
    return closed


def _reason(error: BaseException | None) -> ApiError | None:
    """Return what the other side is told when a stream is left by an exception."""
    if error is None or isinstance(error, StreamClosedError | GeneratorExit):
        return None
    if isinstance(error, ApiError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return ServiceUnavailableError("the stream was cancelled")
    return InternalError(f"the stream failed: {error}")
