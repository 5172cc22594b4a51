from __future__ import annotations

import asyncio

import pytest

from orch.bus.memory import MemoryBroker, MemoryBus
from orch.bus.protocol import Message
from orch.bus.streams import WINDOW, FrameStream, open_stream, serve_streams
from orch.clock import ManualClock
from orch.errors import StreamClosedError
from orch_pb.v1.node_pb2 import StreamOpen


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def buses() -> tuple[MemoryBus, MemoryBus]:
    broker = MemoryBroker()
    return broker.connect("system:apiserver"), broker.connect("system:node:a")


async def _mute(node: MemoryBus) -> None:
    async def answer(_: Message) -> bytes:
        return StreamOpen(inbox=node.new_inbox(), credit=WINDOW).SerializeToString()

    await node.serve("work", answer)


async def test_a_silent_peer_is_given_up_within_fifteen_seconds(buses, clock: ManualClock) -> None:
    api, node = buses
    await _mute(node)
    async with await open_stream(api, "work", b"", clock=clock) as stream:
        reading = asyncio.ensure_future(anext(stream))
        await clock.advance(9)
        assert not reading.done()
        await clock.advance(6)
        with pytest.raises(StreamClosedError, match="silent"):
            await reading


async def test_a_quiet_peer_is_kept(buses, clock: ManualClock) -> None:
    api, node = buses

    async def wait(_: bytes, stream: FrameStream) -> None:
        await anext(stream)

    await serve_streams(node, "work", wait, clock=clock)
    async with await open_stream(api, "work", b"", clock=clock) as stream:
        reading = asyncio.ensure_future(anext(stream))
        for _ in range(60):
            await clock.advance(5)
        assert not reading.done()
        await stream.send(0, b"go")
        with pytest.raises(StopAsyncIteration):
            await reading


async def test_a_reader_that_takes_nothing_is_given_up(buses, clock: ManualClock) -> None:
    api, node = buses

    async def never_read(_: bytes, stream: FrameStream) -> None:
        await asyncio.Event().wait()

    subscription = await serve_streams(node, "work", never_read, clock=clock)
    async with await open_stream(api, "work", b"", clock=clock) as stream:
        sending = asyncio.ensure_future(stream.send(0, bytes(2 * WINDOW), timeout=30))
        await clock.advance(29)
        assert not sending.done()
        await clock.advance(2)
        with pytest.raises(StreamClosedError, match="took nothing for 30 s"):
            await sending
    await subscription.stop()


async def test_a_lost_connection_ends_the_stream(clock: ManualClock) -> None:
    broker = MemoryBroker()
    api, node = broker.connect("system:apiserver"), broker.connect("system:node:a")

    async def wait(_: bytes, stream: FrameStream) -> None:
        await anext(stream)

    await serve_streams(node, "work", wait, clock=clock)
    async with await open_stream(api, "work", b"", clock=clock) as stream:
        broker.stop()
        with pytest.raises(StreamClosedError):
            await stream.send(1, b"x")
        with pytest.raises(StreamClosedError):
            await anext(stream)
