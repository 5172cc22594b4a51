from __future__ import annotations

import asyncio

import pytest

from orch.bus.protocol import Bus, Message, Signal, StreamSpec
from orch.errors import UnavailableError

SPEC = StreamSpec(name="S", subjects=("s.>",), max_per_subject=1)


async def test_an_empty_stream_is_in_sync_at_once(bus: Bus, followed) -> None:
    await bus.ensure_stream(SPEC)
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    assert follower.items == [Signal.RESET, Signal.SYNCED]


async def test_the_snapshot_is_the_newest_of_each_subject_in_stream_order(bus: Bus, followed) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), max_per_subject=5))
    for name, data in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4"), ("b", b"5")):
        await bus.append(f"s.{name}", data, message_id=data.decode())
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    await bus.append("s.a", b"6")
    await follower.until(lambda f: len(f.items) == 6)
    first, *messages, synced, live = follower.items
    assert (first, synced) == (Signal.RESET, Signal.SYNCED)
    seen = [(m.subject, m.data, m.sequence, m.message_id) for m in messages if isinstance(m, Message)]
    assert seen == [("s.a", b"3", 3, "3"), ("s.c", b"4", 4, "4"), ("s.b", b"5", 5, "5")]
    assert isinstance(live, Message)
    assert (live.subject, live.data, live.sequence) == ("s.a", b"6", 6)


async def test_only_matching_subjects_are_followed(bus: Bus, followed) -> None:
    await bus.ensure_stream(SPEC)
    for subject in ("s.pods.x", "s.nodes.x", "s.other.x"):
        await bus.append(subject, subject.encode())
    one = followed(bus, "S", "s.pods.>")
    two = followed(bus, "S", "s.pods.>", "s.nodes.*")
    await one.until(lambda f: f.synced)
    await two.until(lambda f: f.synced)
    await bus.append("s.other.y", b"no")
    await bus.append("s.pods.y", b"yes")
    await one.until(lambda f: b"yes" in f.data())
    await two.until(lambda f: b"yes" in f.data())
    assert one.data() == [b"s.pods.x", b"yes"]
    assert two.data() == [b"s.pods.x", b"s.nodes.x", b"yes"]


async def test_a_stream_that_does_not_exist_yet_is_waited_for(bus: Bus, followed) -> None:
    follower = followed(bus, "S", "s.>")
    await bus.ensure_stream(SPEC)
    await bus.append("s.x", b"1")
    await follower.until(lambda f: f.synced and f.data() == [b"1"])


async def test_a_snapshot_taken_under_load_misses_no_subject(bus: Bus, broker, followed) -> None:
    await bus.ensure_stream(SPEC)
    names = [f"s.{number}" for number in range(300)]
    for name in names:
        await bus.send(name, b"0")
    writer = await broker.connect()
    stopping = asyncio.Event()

    async def keep_writing() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            await (await writer.send(names[number * 7 % 300], b"%d" % number))

    writing = asyncio.create_task(keep_writing())
    try:
        for _ in range(5):
            follower = followed(bus, "S", "s.>")
            await follower.until(lambda f: f.synced)
            assert set(follower.state) == set(names)
            await follower.stop()
    finally:
        stopping.set()
        await writing


async def test_a_deleted_and_rebuilt_stream_is_followed_from_the_start(bus: Bus, broker, followed) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("s.old", b"1")
    await bus.append("s.kept", b"1")
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    await broker.delete_stream("S")
    await bus.ensure_stream(SPEC)
    await bus.append("s.kept", b"2")
    await follower.until(lambda f: f.resets == 2 and f.synced and f.state == {"s.kept": b"2"}, timeout=20)


async def test_a_follower_survives_a_restart_and_loses_nothing(bus: Bus, broker, followed) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("s.a", b"1")
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    await broker.stop()
    await broker.start()
    other = await broker.connect()
    await other.append("s.b", b"2")
    await follower.until(lambda f: f.resets == 2 and f.synced and len(f.state) == 2)
    assert follower.state == {"s.a": b"1", "s.b": b"2"}
    sequences = [
        item.sequence for item in follower.items[follower.items.index(Signal.RESET, 1) :] if isinstance(item, Message)
    ]
    assert sequences == sorted(sequences)


async def test_a_slow_reader_gets_everything(bus: Bus) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",)))
    items = bus.follow("S", ["s.>"])
    assert [await anext(items), await anext(items)] == [Signal.RESET, Signal.SYNCED]
    futures = [await bus.send("s.x", b"%d" % number + bytes(20_000)) for number in range(2000)]
    await asyncio.gather(*futures)
    async with asyncio.timeout(30):
        for number in range(2000):
            message = await anext(items)
            assert isinstance(message, Message)
            assert message.data.rstrip(b"\0") == b"%d" % number
    await items.aclose()


async def test_a_follower_ends_with_its_connection(broker) -> None:
    bus = await broker.connect()
    await bus.ensure_stream(SPEC)
    items = bus.follow("S", ["s.>"])
    await anext(items)
    await anext(items)
    waiting = asyncio.create_task(anext(items))
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(10):
            await waiting
