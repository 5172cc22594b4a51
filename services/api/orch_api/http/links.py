"""A two-way stream of bytes, whatever carries it: a raw connection, a WebSocket, a SPDY stream, a stream to a node."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from orch.bus.streams import FrameStream
from orch.errors import ApiError, StreamClosedError

STALLED: Final = 300.0
"""Seconds after which a peer that takes nothing is given up; the bus has the same patience."""

_CHANNEL: Final = 0


class Link(Protocol):
    """One end of a two-way stream of bytes. Every method may raise StreamClosedError once the other end is gone."""

    async def read(self) -> bytes:
        """Return what came next, b"" when nothing more will come."""
        ...

    async def write(self, data: bytes) -> None:
        """Send data; returns when there is room for more."""
        ...

    async def end(self) -> None:
        """Say that nothing more will be written, as far as the carrier can; go on reading."""
        ...

    async def close(self) -> None:
        """Let go of both directions."""
        ...


async def join(left: Link, right: Link) -> None:
    """Copy both ways until both have ended. Raises what a side broke with; neither side is closed here."""
    copies = [asyncio.ensure_future(_copy(left, right)), asyncio.ensure_future(_copy(right, left))]
    try:
        done, _ = await asyncio.wait(copies, return_when=asyncio.FIRST_EXCEPTION)
        for copy in done:
            copy.result()
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: Link, target: Link) -> None:
    while data := await source.read():
        await target.write(data)
    await target.end()


class NodeLink:
    """The bytes of a frame stream's one channel: a connection that a node made for us.

    What the node gives as its reason for ending is raised as the ApiError that it is.
    """

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self._ended = False

    async def read(self) -> bytes:
        """Return what the far end sent. Raises ApiError, StreamClosedError."""
        try:
            _, data = await anext(self._stream)
        except StopAsyncIteration:
            return b""
        return data or b""

    async def write(self, data: bytes) -> None:
        """Send to the far end. Raises ApiError, StreamClosedError."""
        try:
            await self._stream.send(_CHANNEL, data)
        except StreamClosedError as error:
            raise _reason(error) from error

    async def end(self) -> None:
        """Close the far end's input. Raises ApiError, StreamClosedError."""
        if self._ended:
            return
        self._ended = True
        try:
            await self._stream.end(_CHANNEL)
        except StreamClosedError as error:
            raise _reason(error) from error

    async def close(self) -> None:
        """Close the stream."""
        await self._stream.close()


def _reason(error: StreamClosedError) -> ApiError | StreamClosedError:
    """Return why the node ended the stream, if it said so."""
    return error.__cause__ if isinstance(error.__cause__, ApiError) else error
