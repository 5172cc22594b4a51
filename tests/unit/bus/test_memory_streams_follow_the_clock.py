from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from orch.bus.memory import MemoryBroker, MemoryBus
from orch.bus.protocol import StreamSpec
from orch.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bus(clock: ManualClock) -> MemoryBus:
    return MemoryBroker(clock=clock).connect("system:apiserver")


async def test_a_tombstone_is_gone_after_its_hour(bus: MemoryBus, clock: ManualClock) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), message_ttl=True))
    await (await bus.send("s.x", b"gone", ttl=3600))
    await clock.advance(3599)
    assert await bus.last_message("S") is not None
    await clock.advance(2)
    assert await bus.last_message("S") is None


async def test_messages_past_the_age_of_the_stream_are_gone(bus: MemoryBus, clock: ManualClock) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), max_age=600))
    await bus.append("s.old", b"")
    await clock.advance(400)
    await bus.append("s.new", b"")
    await clock.advance(201)
    items = bus.follow("S", ["s.>"])
    async with aclosing(items):
        seen = [await anext(items) for _ in range(3)]
    assert [getattr(item, "subject", "") for item in seen] == ["", "s.new", ""]


async def test_an_id_is_forgotten_after_the_duplicate_window(bus: MemoryBus, clock: ManualClock) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), duplicate_window=10))
    assert await bus.append("s.x", b"", message_id="1") == 1
    await clock.advance(9)
    assert await bus.append("s.x", b"", message_id="1") == 1
    await clock.advance(2)
    assert await bus.append("s.x", b"", message_id="1") == 2


async def test_work_is_delivered_again_when_its_time_is_up(bus: MemoryBus, clock: ManualClock) -> None:
    await bus.ensure_stream(StreamSpec(name="W", subjects=("w.>",), retention="workqueue"))
    await bus.append("w.x", b"1")
    async with aclosing(bus.work("W", "api", ack_wait=30)) as deliveries:
        await anext(deliveries)
        again = asyncio.ensure_future(anext(deliveries))
        await clock.advance(29)
        assert not again.done()
        await clock.advance(2)
        await (await again).done()
    assert await bus.last_message("W") is None


async def test_streams_in_memory_are_empty_after_a_restart(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    bus = broker.connect("system:apiserver")
    await bus.ensure_stream(StreamSpec(name="M", subjects=("m.>",), storage="memory"))
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",)))
    await bus.append("m.x", b"")
    await bus.append("s.x", b"")
    broker.restart()
    assert await bus.last_message("M") is None
    assert await bus.last_message("S") is not None
