from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from orch.bus import subjects
from orch.bus.protocol import Bus, Message
from orch.errors import BusError, UnavailableError


async def echo(message: Message) -> bytes:
    return message.subject.encode() + b" " + message.data


async def test_an_answer_comes_back(bus: Bus, broker) -> None:
    server = await broker.connect("system:node:a")
    await server.serve("ask.*", echo)
    assert await bus.request("ask.me", b"why") == b"ask.me why"


async def test_nobody_there_is_known_at_once(bus: Bus) -> None:
    with pytest.raises(UnavailableError, match=r"ask\.me"):
        async with asyncio.timeout(2):
            await bus.request("ask.me", b"", timeout=30)


async def test_no_answer_in_time_is_unavailable(bus: Bus) -> None:
    never = asyncio.Event()

    async def silent(_: Message) -> bytes:
        await never.wait()
        return b""

    subscription = await bus.serve("ask.me", silent)
    with pytest.raises(UnavailableError, match=r"0\.2 s"):
        await bus.request("ask.me", b"", timeout=0.2)
    never.set()
    await subscription.stop()


async def test_a_handlers_exception_is_answered_as_an_error(bus: Bus) -> None:
    async def failing(_: Message) -> bytes:
        raise ValueError("no such thing")

    await bus.serve("ask.me", failing)
    with pytest.raises(BusError, match="no such thing"):
        await bus.request("ask.me", b"")


@pytest.mark.parametrize("service", ["", "orch-api"])
async def test_servers_share_the_requests(bus: Bus, broker, service: str) -> None:
    answered: Counter[int] = Counter()
    for number in range(2):
        server = await broker.connect()

        async def count(_: Message, number: int = number) -> bytes:
            answered[number] += 1
            return b""

        await server.serve("ask.me", count, service=service)
    await asyncio.gather(*(bus.request("ask.me", b"") for _ in range(100)))
    assert answered.total() == 100
    assert len(answered) == 2


async def test_no_more_than_in_flight_run_and_the_others_wait(bus: Bus, eventually) -> None:
    running, most = 0, 0
    gate = asyncio.Event()

    async def slow(_: Message) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return b"ok"

    await bus.serve("ask.me", slow, in_flight=3)
    requests = [asyncio.create_task(bus.request("ask.me", b"")) for _ in range(10)]
    await eventually(lambda: running == 3)
    gate.set()
    assert await asyncio.gather(*requests) == [b"ok"] * 10
    assert most == 3


async def test_stop_finishes_what_is_under_way(bus: Bus) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: Message) -> bytes:
        begun.set()
        await gate.wait()
        return b"finished"

    subscription = await bus.serve("ask.me", slow)
    request = asyncio.create_task(bus.request("ask.me", b""))
    await begun.wait()
    stopping = asyncio.create_task(subscription.stop())
    await asyncio.sleep(0)
    gate.set()
    await stopping
    assert await request == b"finished"
    with pytest.raises(UnavailableError):
        await bus.request("ask.me", b"")


async def test_close_finishes_what_is_under_way(bus: Bus, broker) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: Message) -> bytes:
        begun.set()
        await gate.wait()
        return b"finished"

    server = await broker.connect()
    await server.serve("ask.me", slow, service="orch-api")
    request = asyncio.create_task(bus.request("ask.me", b""))
    await begun.wait()
    closing = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    gate.set()
    await closing
    assert await request == b"finished"


async def test_a_server_is_back_after_a_restart(bus: Bus, broker) -> None:
    server = await broker.connect()
    await server.serve("ask.me", echo, service="orch-api")
    await broker.stop()
    await broker.start()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await bus.request("ask.me", b"x") == b"ask.me x"
            except UnavailableError:
                await asyncio.sleep(0.01)
            else:
                break


async def test_a_request_under_way_fails_with_the_connection(bus: Bus, broker) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: Message) -> bytes:
        begun.set()
        await gate.wait()
        return b""

    server = await broker.connect()
    await server.serve("ask.me", slow)
    request = asyncio.create_task(bus.request("ask.me", b"", timeout=60))
    await begun.wait()
    await broker.stop()
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(5):
            await request
    gate.set()
    await broker.start()


async def test_without_a_server_calls_fail_in_time(bus: Bus, broker) -> None:
    await broker.stop()
    calls = [bus.request("x", b"", timeout=1), bus.publish("x", b""), bus.append("x", b"")]
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    await broker.start()


async def test_an_inbox_is_fresh_and_ones_own(bus: Bus) -> None:
    inboxes = {bus.new_inbox() for _ in range(50)}
    assert len(inboxes) == 50
    assert all(inbox.startswith(f"{subjects.inbox_prefix(bus.user)}.") for inbox in inboxes)
