from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from orch.bus.protocol import Bus, Message
from orch.errors import BusError, UnavailableError


async def _next(messages: AsyncGenerator[Message]) -> Message:
    async with asyncio.timeout(10):
        return await anext(messages)


async def test_messages_arrive_with_their_reply(bus: Bus) -> None:
    async with bus.subscribe("news.*") as messages:
        await bus.publish("other", b"no")
        await bus.publish("news.a", b"1", reply="back.here")
        await bus.publish("news.b", b"2")
        first, second = await _next(messages), await _next(messages)
    assert (first.subject, first.data, first.reply, first.sequence) == ("news.a", b"1", "back.here", 0)
    assert (second.subject, second.data) == ("news.b", b"2")


async def test_every_subscriber_gets_a_message_and_nobody_is_no_error(bus: Bus, broker) -> None:
    await bus.publish("news.a", b"lost")
    other = await broker.connect()
    async with bus.subscribe("news.>") as one, other.subscribe("news.>") as two:
        await _answered(other)
        await other.publish("news.a", b"1")
        await bus.publish("news.a", b"2")
        assert {(await _next(one)).data, (await _next(one)).data} == {b"1", b"2"}
        assert (await _next(two)).data in {b"1", b"2"}


async def test_a_subscriber_that_falls_behind_is_told(bus: Bus) -> None:
    async with bus.subscribe("news", queue_limit=10) as messages:
        for number in range(12):
            await bus.publish("news", b"%d" % number)
        await _answered(bus)
        with pytest.raises(BusError, match="too slow"):
            await _read_for_ever(messages)


async def test_a_subscriber_that_keeps_up_is_not_bounded_in_all(bus: Bus) -> None:
    async with bus.subscribe("news", queue_limit=10) as messages:
        for number in range(100):
            await bus.publish("news", b"%d" % number)
            assert (await _next(messages)).data == b"%d" % number


async def test_a_subscription_is_back_after_a_restart(bus: Bus, broker) -> None:
    other = await broker.connect()
    async with bus.subscribe("news") as messages:
        await broker.stop()
        await broker.start()
        arrived = asyncio.ensure_future(_next(messages))
        async with asyncio.timeout(10):
            while not arrived.done():
                await other.publish("news", b"again")
                await asyncio.wait((arrived,), timeout=0.05)
        assert arrived.result().data == b"again"


async def _read_for_ever(messages: AsyncGenerator[Message]) -> None:
    while True:
        await _next(messages)


async def _answered(bus: Bus) -> None:
    """Return when the bus has handled what was sent before."""
    with pytest.raises(UnavailableError):
        await bus.request("nobody.listens", b"")
