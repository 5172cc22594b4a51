"""What only a real server can show: kills, freezes, reloads and old state."""

from __future__ import annotations

import asyncio
import signal

import msgspec
import pytest
from nats_server import EVERYTHING, NatsServer

from orch.bus.nats import NatsBus
from orch.bus.protocol import Bus, Link, Message, Signal, StreamSpec
from orch.errors import BusError, OrchError, StaleWriterError, UnavailableError

SPEC = StreamSpec(name="S", subjects=("s.>",))

pytestmark = pytest.mark.nats


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(server: NatsServer, followed) -> None:
    bus = await server.connect("system:apiserver")
    reader = await server.connect("system:kube-scheduler")
    await bus.ensure_stream(SPEC)
    follower = followed(reader, "S", "s.>")
    await follower.until(lambda f: f.synced)
    stored: dict[int, str] = {}

    async def publish() -> None:
        """A relay: pipelined and fenced; after a failure it looks where the stream ends and goes on from there."""
        number = 0
        while number < 6000:
            try:
                last = await bus.last_message("S")
                number = int(last.message_id) if last is not None else 0
                pending: list[tuple[int, asyncio.Future[int]]] = []
                while number < 6000 and len(pending) < 512:
                    number += 1
                    previous = str(number - 1) if number > 1 else ""
                    future = await bus.send_chain([Link(f"s.{number}", b"", str(number))], previous)
                    pending.append((number, future))
                for sent, future in pending:
                    stored[await future] = str(sent)
            except UnavailableError:
                number = 0

    publishing = asyncio.create_task(publish())
    for at in (500, 2000):
        await follower.until(lambda f, at=at: len(f.data()) >= at, timeout=30)
        await server.kill()
        await server.start()
    async with asyncio.timeout(40):
        await publishing
    await follower.until(lambda f: f.synced and len(f.state) == 6000, timeout=30)
    assert follower.resets >= 2
    last_run = follower.items[_last_reset(follower.items) :]
    messages = [item for item in last_run if isinstance(item, Message)]
    numbers = [int(message.message_id) for message in messages]
    assert numbers == sorted(numbers)
    everything = {m.sequence: m.message_id for m in follower.items if isinstance(m, Message)}
    assert {sequence: everything[sequence] for sequence in stored} == stored


async def test_a_chain_goes_on_after_a_restart_that_forgot_its_ids(server: NatsServer, eventually) -> None:
    spec = StreamSpec(name="S", subjects=("s.>",), duplicate_window=0.1)
    bus = await server.connect("system:apiserver")
    await bus.ensure_stream(spec)
    await (await bus.send_chain([Link("s.x", b"1", "1")], ""))
    await server.kill()
    await asyncio.sleep(2 * spec.duplicate_window)  # by the server's own clock, which nobody else can move
    await server.start()
    assert await (await bus.send_chain([Link("s.x", b"2", "2")], "1")) == 2
    assert await (await bus.send_chain([Link("s.x", b"3", "3")], "2")) == 3
    with pytest.raises(StaleWriterError):
        await (await bus.send_chain([Link("s.x", b"4", "4")], "2"))


async def test_a_stream_in_memory_is_made_again(server: NatsServer, eventually) -> None:
    bus = await server.connect("system:apiserver")
    await bus.ensure_stream(StreamSpec(name="M", subjects=("m.>",), storage="memory"))
    await server.kill()
    await server.start()

    async def stored() -> bool:
        try:
            return await bus.append("m.x", b"1") == 1
        except UnavailableError:
            return False

    await eventually(stored)


async def test_a_frozen_server_is_noticed_and_left(server: NatsServer) -> None:
    bus = await server.connect("system:apiserver")
    await bus.ensure_stream(SPEC)
    await server.freeze()
    try:
        waiting = asyncio.create_task(bus.append("s.x", b"1"))
        with pytest.raises(UnavailableError):
            async with asyncio.timeout(8):
                await waiting
    finally:
        server.thaw()
    async with asyncio.timeout(5):
        await _until_it_works(bus)


async def test_the_connection_is_back_within_a_second(server: NatsServer) -> None:
    bus = await server.connect("system:apiserver")
    await bus.ensure_stream(SPEC)
    await server.kill()
    await server.start()
    async with asyncio.timeout(1.5):
        await _until_it_works(bus)


async def test_a_user_that_a_reload_revokes_is_back_with_the_next(server: NatsServer) -> None:
    bus = await server.connect("system:node:a")
    other = await server.connect("system:apiserver")
    await other.ensure_stream(SPEC)
    await bus.append("s.x", b"1")
    del server.users["system:node:a"]
    server.write_config()
    server.send_signal(signal.SIGHUP)
    with pytest.raises(OrchError):
        async with asyncio.timeout(20):
            await _append_for_ever(bus)
    await other.append("s.y", b"others go on")
    server.users["system:node:a"] = EVERYTHING
    server.write_config()
    server.send_signal(signal.SIGHUP)
    async with asyncio.timeout(5):
        await _until_it_works(bus)


async def test_a_stranger_is_not_let_in(server: NatsServer) -> None:
    with pytest.raises(BusError, match="does not let system:node:stranger in"):
        await server.connect("system:node:stranger")


async def test_no_server_is_unavailable_within_the_deadline(server: NatsServer) -> None:
    await server.kill()
    with pytest.raises(UnavailableError, match=str(server.port)):
        await server.connect("system:node:a", timeout=0.5)


async def test_services_are_found_as_nats_micro_services(server: NatsServer) -> None:
    bus = await server.connect("system:apiserver")

    async def answer(message: Message) -> bytes:
        if message.data == b"bad":
            raise ValueError("bad")
        return b""

    first = await bus.serve("orch.rpc.*.get", answer, service="orch-api")
    await bus.serve("orch.rpc.*.list", answer, service="orch-api")
    await bus.request("orch.rpc.me.get", b"good")
    with pytest.raises(BusError, match="bad"):
        await bus.request("orch.rpc.me.get", b"bad")
    ping = msgspec.json.decode(await bus.request("$SRV.PING.orch-api", b""))
    assert (ping["type"], ping["name"]) == ("io.nats.micro.v1.ping_response", "orch-api")
    info = msgspec.json.decode(await bus.request(f"$SRV.INFO.orch-api.{ping['id']}", b""))
    assert [(one["name"], one["subject"]) for one in info["endpoints"]] == [
        ("get", "orch.rpc.*.get"),
        ("list", "orch.rpc.*.list"),
    ]
    stats = msgspec.json.decode(await bus.request("$SRV.STATS", b""))["endpoints"][0]
    assert (stats["num_requests"], stats["num_errors"], stats["last_error"]) == (2, 1, "bad")
    assert stats["average_processing_time"] > 0
    await first.stop()
    with pytest.raises(UnavailableError):
        await bus.request("orch.rpc.me.get", b"")
    assert await bus.request("orch.rpc.me.list", b"") == b""


async def test_a_cancelled_caller_ends_at_once(server: NatsServer) -> None:
    bus = await server.connect("system:apiserver")
    await bus.ensure_stream(SPEC)

    async def publish() -> None:
        while True:
            await bus.publish("nobody", bytes(1 << 20))

    for _ in range(20):
        task = asyncio.create_task(publish())
        await asyncio.sleep(0.01)
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


def _last_reset(items: list[Message | Signal]) -> int:
    return max(place for place, item in enumerate(items) if item is Signal.RESET)


async def _until_it_works(bus: NatsBus | Bus) -> None:
    while True:
        try:
            await bus.append("s.x", b"")
        except UnavailableError:
            await asyncio.sleep(0.02)
        else:
            return


async def _append_for_ever(bus: Bus) -> None:
    while True:
        await bus.append("s.x", b"")
        await asyncio.sleep(0.01)
