from __future__ import annotations

import asyncio

import pytest

from orch.bus.protocol import Bus, Message
from orch.bus.streams import CHUNK, FRAME_COST, WINDOW, FrameStream, open_stream, serve_streams
from orch.errors import (
    BusError,
    ForbiddenError,
    InternalError,
    NotFoundError,
    ServiceUnavailableError,
    StreamClosedError,
    TooManyRequestsError,
    UnavailableError,
)
from orch_pb.v1.node_pb2 import Frame, StreamOpen


@pytest.fixture
async def node(broker) -> Bus:
    return await broker.connect("system:node:a")


async def echo(request: bytes, stream: FrameStream) -> None:
    await stream.send(9, request)
    async for channel, data in stream:
        if data is None:
            await stream.end(channel)
        else:
            await stream.send(channel, data)


async def test_frames_go_both_ways_until_both_ends_close(bus: Bus, node: Bus) -> None:
    await serve_streams(node, "work", echo)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"hello") as stream:
        await stream.send(1, b"one")
        await stream.send(2, b"two")
        await stream.end(1)
        received = [await anext(stream) for _ in range(4)]
    assert received == [(9, b"hello"), (1, b"one"), (2, b"two"), (1, None)]


async def test_the_iteration_ends_when_the_handler_returns(bus: Bus, node: Bus) -> None:
    async def lines(_: bytes, stream: FrameStream) -> None:
        for number in range(3):
            await stream.send(1, b"%d" % number)

    await serve_streams(node, "work", lines)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"") as stream:
        assert [item async for item in stream] == [(1, b"0"), (1, b"1"), (1, b"2")]


async def test_large_data_comes_in_order_in_bounded_pieces(bus: Bus, node: Bus) -> None:
    payload = bytes(range(256)) * 20_000

    async def dump(_: bytes, stream: FrameStream) -> None:
        await stream.send(1, payload)

    await serve_streams(node, "work", dump)
    async with asyncio.timeout(30), await open_stream(bus, "work", b"") as stream:
        pieces = [data async for _, data in stream if data is not None]
    assert b"".join(pieces) == payload
    assert max(map(len, pieces)) <= CHUNK


async def test_a_sender_waits_for_its_reader(bus: Bus, node: Bus, eventually) -> None:
    sent = 0

    async def flood(_: bytes, stream: FrameStream) -> None:
        nonlocal sent
        while True:
            await stream.send(1, bytes(1000))
            sent += 1

    await serve_streams(node, "work", flood)
    async with await open_stream(bus, "work", b"") as stream:
        room = WINDOW // (1000 + FRAME_COST)
        await eventually(lambda: sent >= room)
        with pytest.raises(UnavailableError):
            await node.request("nobody", b"")  # gives the sender time to go on
        assert sent == room
        async with asyncio.timeout(10):
            for _ in range(1000):
                await anext(stream)
        await eventually(lambda: sent >= 1000 + room // 2)
        assert sent <= 1001 + room


async def test_a_refusal_is_raised_by_open(bus: Bus, node: Bus) -> None:
    async def check(request: bytes) -> None:
        if request != b"please":
            raise NotFoundError.of("pods", "", request.decode())

    await serve_streams(node, "work", echo, check=check)
    with pytest.raises(NotFoundError, match='pods "x" not found'):
        await open_stream(bus, "work", b"x")
    await (await open_stream(bus, "work", b"please")).close()


async def test_nobody_there_is_unavailable_at_once(bus: Bus) -> None:
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(2):
            await open_stream(bus, "work", b"", timeout=30)


async def test_too_many_streams_are_refused(bus: Bus, node: Bus) -> None:
    await serve_streams(node, "work", echo, limit=1)
    async with await open_stream(bus, "work", b""):
        with pytest.raises(TooManyRequestsError):
            await open_stream(bus, "work", b"")


@pytest.mark.parametrize(
    ("raised", "seen"),
    [(ForbiddenError("no"), ForbiddenError), (ValueError("oops"), InternalError)],
)
async def test_the_caller_sees_why_the_handler_failed(bus: Bus, node: Bus, raised: Exception, seen: type) -> None:
    async def failing(_: bytes, stream: FrameStream) -> None:
        await stream.send(1, b"before")
        raise raised

    await serve_streams(node, "work", failing)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"") as stream:
        assert await anext(stream) == (1, b"before")
        with pytest.raises(seen):
            await anext(stream)


async def test_the_handler_sees_why_the_caller_left(bus: Bus, node: Bus) -> None:
    seen: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def read(_: bytes, stream: FrameStream) -> None:
        try:
            async for _item in stream:
                pass
        except ForbiddenError as error:
            seen.set_result(error)

    await serve_streams(node, "work", read)
    stream = await open_stream(bus, "work", b"")
    await stream.close(ForbiddenError("enough"))
    async with asyncio.timeout(10):
        assert str(await seen) == "enough"


async def test_cancelling_one_side_ends_the_other(bus: Bus, node: Bus) -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def flood(_: bytes, stream: FrameStream) -> None:
        try:
            while True:
                await stream.send(1, bytes(100))
        except StreamClosedError as error:
            ended.set_result(error.__cause__)
            raise

    flowing = asyncio.Event()

    async def read() -> None:
        async with await open_stream(bus, "work", b"") as stream:
            async for _item in stream:
                flowing.set()

    await serve_streams(node, "work", flood)
    reader = asyncio.create_task(read())
    async with asyncio.timeout(10):
        await flowing.wait()
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    async with asyncio.timeout(10):
        assert isinstance(await ended, ServiceUnavailableError)


async def test_a_server_that_stops_ends_its_streams(bus: Bus, node: Bus) -> None:
    subscription = await serve_streams(node, "work", echo)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"x") as stream:
        assert await anext(stream) == (9, b"x")
        await subscription.stop()
        with pytest.raises(ServiceUnavailableError):
            await anext(stream)
    with pytest.raises(UnavailableError):
        await open_stream(bus, "work", b"")


async def test_sending_after_the_end_is_an_error(bus: Bus, node: Bus) -> None:
    async def leave(_: bytes, stream: FrameStream) -> None:
        return

    await serve_streams(node, "work", leave)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"") as stream:
        assert [item async for item in stream] == []
        with pytest.raises(StreamClosedError):
            await stream.send(1, b"x")


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(sequence=2, channel=1, data=b"gap")],
        [Frame(sequence=1, channel=1, end=True), Frame(sequence=2, channel=1, data=b"after the end")],
        [Frame(sequence=n, channel=1, data=bytes(CHUNK)) for n in range(1, 7)],
    ],
    ids=["a gap", "data after the end", "more than there is room for"],
)
async def test_a_peer_that_breaks_the_rules_is_cut_off(bus: Bus, node: Bus, frames: list[Frame]) -> None:
    async def misbehave(message: Message) -> bytes:
        inbox = StreamOpen.FromString(message.data).inbox
        for frame in frames:
            await node.publish(inbox, frame.SerializeToString())
        return StreamOpen(inbox=node.new_inbox(), credit=WINDOW).SerializeToString()

    await node.serve("work", misbehave)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"") as stream:
        with pytest.raises(StreamClosedError):
            await _read_to_the_end(stream)


async def test_what_is_no_frame_cuts_the_peer_off(bus: Bus, node: Bus) -> None:
    async def misbehave(message: Message) -> bytes:
        await node.publish(StreamOpen.FromString(message.data).inbox, b"\xff\xff")
        return StreamOpen(inbox=node.new_inbox(), credit=WINDOW).SerializeToString()

    await node.serve("work", misbehave)
    async with asyncio.timeout(10), await open_stream(bus, "work", b"") as stream:
        with pytest.raises(StreamClosedError, match="no frame"):
            await anext(stream)


async def test_what_is_no_opening_is_refused(bus: Bus, node: Bus) -> None:
    await serve_streams(node, "work", echo)
    with pytest.raises(BusError, match="no StreamOpen"):
        await bus.request("work", b"\xff\xff")


async def _read_to_the_end(stream: FrameStream) -> None:
    async for _ in stream:
        pass
