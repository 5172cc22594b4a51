"""A connection's rules: pings, ends, resets, limits, and what a slow or silent peer does to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from spdy_client import ResetError, SpdyClient

from orch.clock import ManualClock
from orch.errors import StreamClosedError
from orch.spdy.frames import Ping, RstStream, Settings, SynStream, WindowUpdate
from orch_api.http.spdy import connection as spdy
from orch_api.http.spdy.connection import SpdyConnection


class Pipe:
    """One end of a pipe between two tasks: a Link, and what a client needs."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue(8)
        self.other: Pipe = self
        self.closed = False

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        if self.closed:
            raise StreamClosedError("closed")
        await self.other.incoming.put(data)

    async def end(self) -> None:
        await self.other.incoming.put(b"")

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            while self.other.incoming.full():
                self.other.incoming.get_nowait()
            self.other.incoming.put_nowait(b"")


class Pair:
    """A client and the server's end of its connection."""

    def __init__(self, *, pongs: bool = True) -> None:
        self.clock = ManualClock()
        self.ours, self.theirs = Pipe(), Pipe()
        self.ours.other, self.theirs.other = self.theirs, self.ours
        self.client = SpdyClient(self.theirs.write, self.theirs.read, pongs=pongs)
        self.server = SpdyConnection(self.ours, self.clock)

    async def stream(self) -> tuple[Any, Any]:
        """Open a stream; return both ends."""
        opening = asyncio.ensure_future(self.client.open(streamtype="data"))
        stream = await self.server.accept()
        assert stream is not None
        await stream.accept()
        return await opening, stream


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    async with pair.server:
        yield pair
        await pair.theirs.close()
    await pair.client.close()


async def test_both_halves_end_by_themselves(pair: Pair) -> None:
    theirs, ours = await pair.stream()
    assert ours.headers == {"streamtype": "data"}
    await theirs.send(b"question")
    await theirs.send(b"", fin=True)
    assert (await ours.read(), await ours.read()) == (b"question", b"")
    await ours.write(b"x" * 100_000)
    await ours.end()
    assert await theirs.read_all() == b"x" * 100_000
    assert pair.server._streams == {}
    with pytest.raises(StreamClosedError):
        await ours.write(b"more")


async def test_a_reset_ends_reading_and_writing(pair: Pair) -> None:
    theirs, ours = await pair.stream()
    await theirs.send(b"some")
    await theirs.reset()
    assert await ours.read() == b"some"
    with pytest.raises(StreamClosedError, match="client reset"):
        await ours.read()
    with pytest.raises(StreamClosedError, match="client reset"):
        await ours.write(b"x")
    theirs, ours = await pair.stream()
    await ours.close()
    with pytest.raises(ResetError):
        await theirs.read()


async def test_pings_are_answered_and_windows_are_not_heeded(pair: Pair) -> None:
    await pair.client.send(Settings(((7, 0, 1),)))
    await pair.client.send(WindowUpdate(1, 5))
    await pair.client.send(Ping(7))
    theirs, ours = await pair.stream()
    assert Ping(7) in pair.client.frames
    await ours.write(b"y" * 300_000)  # more than SPDY's first window, without an update
    await ours.end()
    assert len(await theirs.read_all()) == 300_000


async def test_a_client_that_answers_pings_is_kept_and_a_silent_one_given_up() -> None:
    for pongs in (True, False):
        pair = Pair(pongs=pongs)
        async with pair.server:
            over = asyncio.ensure_future(pair.server.wait_over())
            for _ in range(8):
                await pair.clock.advance(15)
            assert over.done() is not pongs
            await pair.theirs.close()
            await over
        await pair.client.close()


async def test_an_idle_connection_is_closed(pair: Pair) -> None:
    over = asyncio.ensure_future(pair.server.wait_over())
    for _ in range(int(spdy.IDLE / 15) - 1):
        await pair.clock.advance(15)
    assert not over.done()
    await pair.clock.advance(30)
    assert over.done()


async def test_a_stream_that_nobody_reads_holds_its_connection_back(pair: Pair) -> None:
    theirs, ours = await pair.stream()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await theirs.send(b"z" * 32_768)
            sent += 32_768

    flooding = asyncio.ensure_future(flood())
    for _ in range(200):
        await asyncio.sleep(0)
    held = sent
    for _ in range(200):
        await asyncio.sleep(0)
    assert sent == held < spdy.WINDOW + 16 * 32_768
    await pair.clock.advance(120)  # that we do not read is no silence of theirs
    read = 0
    while read < 1_000_000:
        read += len(await ours.read())
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_a_stream_that_nobody_reads_for_too_long_is_reset(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdy, "STALLED", 0.05)
    theirs, ours = await pair.stream()
    for _ in range(9):
        await theirs.send(b"z" * 32_768)
    with pytest.raises(ResetError):
        await theirs.read()
    other, _ = await pair.stream()  # the connection goes on
    assert other.number > theirs.number
    assert len(await ours.read()) == 32_768


async def test_ids_must_be_odd_and_grow(pair: Pair) -> None:
    await pair.stream()
    for number in (1, 2):
        await pair.client.send(SynStream(number, {}))
    await pair.stream()
    refused = [frame for frame in pair.client.frames if isinstance(frame, RstStream)]
    assert refused == [RstStream(1, 1), RstStream(2, 1)]


async def test_streams_are_limited(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdy, "MAX_STREAMS", 3)
    ends = [await pair.stream() for _ in range(3)]
    with pytest.raises(ResetError) as refused:
        await pair.client.open(streamtype="data")
    assert refused.value.status == 3
    for theirs, ours in ends:
        await theirs.send(b"", fin=True)
        await ours.end()
        assert await theirs.read() == b""
    await pair.stream()


async def test_a_peer_that_breaks_the_rules_loses_its_connection(pair: Pair) -> None:
    _, ours = await pair.stream()
    await pair.theirs.write(b"\x80\x09what is this?")
    with pytest.raises(StreamClosedError, match="rules of SPDY"):
        await ours.read()
    assert await pair.server.accept() is None


async def test_closing_says_goodbye(pair: Pair) -> None:
    theirs, _ = await pair.stream()
    closing = asyncio.ensure_future(pair.server.close())
    async with asyncio.timeout(5):
        await pair.client.gone_away.wait()
    with pytest.raises(ResetError) as refused:
        await pair.client.open(streamtype="late")
    assert refused.value.status == 3
    await pair.theirs.close()
    await closing
    assert theirs.number == 1
