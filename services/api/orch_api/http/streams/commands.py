"""exec and attach: a terminal at the client's end, a frame stream to the container at the node's.

Terminals differ in what carries them, WebSocket channels or SPDY streams; what is said is the same. The protocol's
version matters for two things: how the end is told (a Status since version 4, a message before), and whether a
terminal's size can be changed (since version 3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from orch.bus.streams import FrameStream
from orch.errors import ApiError, BadRequestError, Status, StreamClosedError
from orch.objects.pods import Pod
from orch.spdy.frames import REFUSED_STREAM
from orch_api.http.request import flag, text
from orch_api.http.spdy.connection import SpdyConnection, SpdyStream
from orch_api.http.streams.pods import Query, container_of
from orch_api.http.websocket import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, Channels
from orch_pb.v1 import node_pb2

_log = logging.getLogger(__name__)

SPDY_PROTOCOLS: Final = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
_WITH_STATUS: Final = frozenset({"v5.channel.k8s.io", "v4.channel.k8s.io"})
_WITH_SIZES: Final = frozenset({*_WITH_STATUS, "v3.channel.k8s.io"})
_STREAM_DEADLINE: Final = 30.0
"""Seconds that a client has to open its streams; kubelet gives it as many."""
_CHANNELS: Final = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}


class Terminal(Protocol):
    """The client's end of a command."""

    async def feed(self, node: FrameStream) -> None:
        """Pass on input and sizes until the client leaves."""
        ...

    async def send(self, channel: int, data: bytes) -> None:
        """Send output. Raises StreamClosedError."""
        ...

    async def finish(self, status: bytes) -> None:
        """Say how the command ended, with a Status in JSON, and that there is no more output."""
        ...


async def run_command(terminal: Terminal, node: FrameStream) -> None:
    """Copy both ways until the command has ended or the client has left."""
    feeding = asyncio.ensure_future(terminal.feed(node))
    showing = asyncio.ensure_future(_show(terminal, node))
    try:
        await asyncio.wait((feeding, showing), return_when=asyncio.FIRST_COMPLETED)
        for task in (feeding, showing):
            if task.done():
                task.result()
    except StreamClosedError as error:
        _log.info("a command's client or node went away: %s", error)
    finally:
        feeding.cancel()
        showing.cancel()
        await asyncio.gather(feeding, showing, return_exceptions=True)


async def _show(terminal: Terminal, node: FrameStream) -> None:
    """Pass on what comes from the node, and in the end how it ended."""
    status = b""
    while True:
        try:
            channel, data = await anext(node)
        except StopAsyncIteration:
            break
        except ApiError as error:
            status = error.encode()
            break
        except StreamClosedError as error:
            status = ApiError(f"the node's stream broke: {error}").encode()
            break
        if channel == ERROR:
            status += data or b""
        elif data:
            await terminal.send(channel, data)
    await terminal.finish(status)


class SocketTerminal:
    """A terminal over a WebSocket's channels."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._input_ended = False

    async def feed(self, node: FrameStream) -> None:
        """Pass on input and sizes until the client leaves."""
        async for channel, data in self._channels:
            if channel == CLOSE:
                if data[:1] == b"\0" and not self._input_ended:
                    self._input_ended = True
                    await node.end(STDIN)
            elif data and channel in {STDIN, RESIZE} and not (channel == STDIN and self._input_ended):
                await node.send(channel, data)

    async def send(self, channel: int, data: bytes) -> None:
        """Send output."""
        await self._channels.send(channel, data)

    async def finish(self, status: bytes) -> None:
        """Send the Status, or before version 4 its message, and close."""
        told = status if self._channels.versioned else failure_of(status)
        if told:
            await self._channels.send(ERROR, told)
        await self._channels.close()


class SpdyTerminal:
    """A terminal over SPDY streams, one for each channel."""

    def __init__(self, connection: SpdyConnection, streams: dict[int, SpdyStream], protocol: str) -> None:
        self._connection = connection
        self._streams = streams
        self._protocol = protocol

    @classmethod
    async def of(cls, connection: SpdyConnection, request: Stdio, protocol: str) -> SpdyTerminal:
        """Wait for the streams that the client opens. Raises StreamClosedError when they do not come."""
        wanted = {"error", *(name for name in ("stdin", "stdout", "stderr") if getattr(request, name))}
        if request.tty and protocol in _WITH_SIZES:
            wanted.add("resize")
        streams: dict[int, SpdyStream] = {}
        try:
            async with asyncio.timeout(_STREAM_DEADLINE):
                while wanted:
                    stream = await connection.accept()
                    if stream is None:
                        raise StreamClosedError("the client left before it had opened its streams")
                    kind = stream.headers.get("streamtype", "")
                    if kind in wanted:
                        wanted.remove(kind)
                        streams[_CHANNELS[kind]] = stream
                        await stream.accept()
                    else:
                        await stream.reset(REFUSED_STREAM)
        except TimeoutError as error:
            raise StreamClosedError("timed out waiting for client to create streams") from error
        return cls(connection, streams, protocol)

    async def feed(self, node: FrameStream) -> None:
        """Pass on input and sizes until the client leaves."""
        copies = [
            asyncio.ensure_future(_feed(self._streams[channel], channel, node))
            for channel in (STDIN, RESIZE)
            if channel in self._streams
        ]
        try:
            await self._connection.wait_over()
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)

    async def send(self, channel: int, data: bytes) -> None:
        """Send output; none on a stream that the client has closed."""
        stream = self._streams.get(channel)
        if stream is not None:
            await stream.write(data)

    async def finish(self, status: bytes) -> None:
        """Send the Status, or before version 4 its message, and end all streams."""
        told = status if self._protocol in _WITH_STATUS else failure_of(status)
        if told:
            await self._streams[ERROR].write(told)
        for _, stream in sorted(self._streams.items()):
            await stream.end()


async def _feed(stream: SpdyStream, channel: int, node: FrameStream) -> None:
    """Pass on one stream; that it ends or breaks is the end of this channel only."""
    try:
        with suppress(StreamClosedError):
            while data := await stream.read():
                await node.send(channel, data)
        await node.end(channel)
    except StreamClosedError as error:
        _log.debug("the input of a command ended: %s", error)


class Stdio(Protocol):
    """What a request says of the streams that it wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def first_channel(request: Stdio) -> int:
    """Return the lowest channel that is written: an empty message on it tells a client that the command stands."""
    return STDOUT if request.stdout else STDERR if request.stderr else ERROR


def negotiated(offered: Sequence[str]) -> str:
    """Return the first protocol that a SPDY client offers and that is spoken, "" for none.

    A client that offers nothing speaks the oldest.
    """
    return next((protocol for protocol in offered if protocol in SPDY_PROTOCOLS), "") if offered else SPDY_PROTOCOLS[-1]


def failure_of(status: bytes) -> bytes:
    """Return a Status's message; nothing for success."""
    decoded = msgspec.json.decode(status, type=Status) if status else Status(status="Success")
    return b"" if decoded.status == "Success" else decoded.message.encode()


def exec_request(pod: Pod, query: Query) -> node_pb2.ExecRequest:
    """Return what to ask the node for. Raises BadRequestError."""
    command = query.get("command", [])
    if not command:
        raise BadRequestError("you must specify at least one command for the container")
    stdin, stdout, stderr, tty = _stdio(query)
    if pod.status.phase in {"Succeeded", "Failed"}:
        raise BadRequestError(f"cannot exec into a container in a completed pod; current phase is {pod.status.phase}")
    return node_pb2.ExecRequest(
        namespace=pod.metadata.namespace,
        pod=pod.metadata.name,
        uid=pod.metadata.uid,
        container=container_of(pod, text(query, "container")),
        command=command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        tty=tty,
    )


def attach_request(pod: Pod, query: Query) -> node_pb2.AttachRequest:
    """Return what to ask the node for. Raises BadRequestError."""
    stdin, stdout, stderr, tty = _stdio(query)
    if pod.status.phase in {"Succeeded", "Failed"}:
        phase = pod.status.phase
        raise BadRequestError(f"cannot attach to a container in a completed pod; current phase is {phase}")
    return node_pb2.AttachRequest(
        namespace=pod.metadata.namespace,
        pod=pod.metadata.name,
        uid=pod.metadata.uid,
        container=container_of(pod, text(query, "container")),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        tty=tty,
    )


def _stdio(query: Query) -> tuple[bool, bool, bool, bool]:
    """Return (stdin, stdout, stderr, tty). Raises BadRequestError when nothing is asked for."""
    stdin, stdout, stderr, tty = (flag(query, name) for name in ("stdin", "stdout", "stderr", "tty"))
    stderr = stderr and not tty  # a terminal has one output; kubelet, too, leaves the other away
    if not (stdin or stdout or stderr):
        raise BadRequestError("you must specify at least 1 of stdin, stdout, stderr")
    return stdin, stdout, stderr, tty
