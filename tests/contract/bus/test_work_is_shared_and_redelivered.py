from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing

import pytest

from orch.bus.protocol import Bus, StreamSpec

SPEC = StreamSpec(name="W", subjects=("w.>",), retention="workqueue")


async def test_messages_come_in_order_and_are_removed_when_done(bus: Bus, eventually) -> None:
    await bus.ensure_stream(SPEC)
    for number in range(5):
        await bus.append(f"w.{number}", b"%d" % number, message_id=str(number))
    async with asyncio.timeout(10), aclosing(bus.work("W", "api")) as deliveries:
        for number in range(5):
            delivery = await anext(deliveries)
            assert (delivery.message.subject, delivery.message.data) == (f"w.{number}", b"%d" % number)
            assert (delivery.message.sequence, delivery.message.message_id) == (number + 1, str(number))
            await delivery.done()
    await eventually(lambda: _is_empty(bus))


async def test_messages_that_come_later_are_delivered(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    async with asyncio.timeout(10), aclosing(bus.work("W", "api")) as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0)
        await bus.append("w.x", b"late")
        assert (await waiting).message.data == b"late"


async def test_each_message_goes_to_one_worker(bus: Bus, broker) -> None:
    await bus.ensure_stream(SPEC)
    done: Counter[bytes] = Counter()
    finished = asyncio.Event()
    workers: Counter[int] = Counter()

    async def run(worker: int) -> None:
        own = await broker.connect()
        async with aclosing(own.work("W", "api", in_flight=4)) as deliveries:
            async for delivery in deliveries:
                done[delivery.message.data] += 1
                workers[worker] += 1
                await delivery.done()
                if len(done) == 200:
                    finished.set()

    tasks = [asyncio.create_task(run(worker)) for worker in range(2)]
    for number in range(200):
        await bus.append("w.x", b"%d" % number)
    async with asyncio.timeout(20):
        await finished.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert set(done.values()) == {1}
    assert len(workers) == 2


async def test_what_is_not_settled_in_time_is_delivered_again(bus: Bus, eventually) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("w.x", b"1")
    async with asyncio.timeout(15), aclosing(bus.work("W", "api", ack_wait=0.3, in_flight=1)) as deliveries:
        first = await anext(deliveries)
        again = await anext(deliveries)
        assert again.message.sequence == first.message.sequence
        await again.done()
    await eventually(lambda: _is_empty(bus))


async def test_retry_delivers_again_after_the_delay(bus: Bus, eventually) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("w.x", b"1")
    await bus.append("w.x", b"2")
    async with asyncio.timeout(15), aclosing(bus.work("W", "api")) as deliveries:
        first = await anext(deliveries)
        await first.retry(0.3)
        second = await anext(deliveries)
        assert second.message.data == b"2"
        await second.done()
        again = await anext(deliveries)
        assert again.message.data == b"1"
        await again.retry()
        await (await anext(deliveries)).done()
    await eventually(lambda: _is_empty(bus))


async def test_no_more_than_in_flight_are_held(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    for number in range(6):
        await bus.append("w.x", b"%d" % number)
    async with asyncio.timeout(15), aclosing(bus.work("W", "api", in_flight=2)) as deliveries:
        held = [await anext(deliveries), await anext(deliveries)]
        waiting = asyncio.ensure_future(anext(deliveries))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(waiting)
        await held[0].done()
        assert (await waiting).message.data == b"2"


async def test_work_survives_a_restart(bus: Bus, broker, eventually) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("w.x", b"1")
    async with asyncio.timeout(30), aclosing(bus.work("W", "api", ack_wait=1)) as deliveries:
        held = await anext(deliveries)
        await broker.stop()
        await broker.start()
        await bus.append("w.x", b"2")
        settled: set[bytes] = set()
        while settled != {held.message.data, b"2"}:
            delivery = await anext(deliveries)
            await delivery.done()
            settled.add(delivery.message.data)
    await eventually(lambda: _is_empty(bus))


async def test_a_queue_that_does_not_exist_yet_is_waited_for(bus: Bus) -> None:
    async with asyncio.timeout(15), aclosing(bus.work("W", "api")) as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0)
        await bus.ensure_stream(SPEC)
        await bus.append("w.x", b"1")
        assert (await waiting).message.data == b"1"


async def _is_empty(bus: Bus) -> bool:
    return await bus.last_message("W") is None
