from __future__ import annotations

import asyncio

import pytest

from orch.bus.protocol import Bus, Link, StreamSpec
from orch.errors import BusError, StaleWriterError, UnavailableError

SPEC = StreamSpec(name="S", subjects=("s.>",), max_per_subject=0, message_ttl=True)


async def test_append_returns_the_sequence(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    assert [await bus.append("s.x", b"1"), await bus.append("s.y", b"2")] == [1, 2]


async def test_the_last_message_is_the_newest(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    assert await bus.last_message("S") is None
    await bus.append("s.x", b"1", message_id="one")
    await bus.append("s.y", b"\x00\xff", message_id="two")
    last = await bus.last_message("S")
    assert last is not None
    assert (last.subject, last.data, last.sequence, last.message_id) == ("s.y", b"\x00\xff", 2, "two")


async def test_an_unknown_stream_is_an_error(bus: Bus) -> None:
    with pytest.raises(BusError, match="S"):
        await bus.last_message("S")


async def test_a_subject_without_a_stream_is_unavailable_at_once(bus: Bus) -> None:
    with pytest.raises(UnavailableError, match=r"nowhere\.x"):
        async with asyncio.timeout(2):
            await bus.append("nowhere.x", b"")


async def test_purge_removes_all_or_one_subject(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("s.x", b"1", message_id="1")
    await bus.append("s.y", b"2", message_id="2")
    await bus.purge("S", "s.y")
    last = await bus.last_message("S")
    assert last is not None
    assert last.subject == "s.x"
    await bus.purge("S")
    assert await bus.last_message("S") is None


async def test_a_message_id_seen_before_is_acknowledged_and_dropped(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    first = await bus.append("s.x", b"1", message_id="same")
    again = await bus.append("s.x", b"2", message_id="same")
    assert again == first
    assert await bus.append("s.x", b"3") == first + 1


async def test_only_the_newest_of_a_subject_are_kept(bus: Bus, followed) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), max_per_subject=1))
    for data in (b"1", b"2", b"3"):
        await bus.append("s.x", data)
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    assert follower.data() == [b"3"]


async def test_a_thousand_pipelined_messages_keep_their_order(bus: Bus, followed) -> None:
    await bus.ensure_stream(SPEC)
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    previous, futures = "", []
    for number in range(1, 1501):
        futures.append(await bus.send_chain([Link(f"s.{number % 7}", b"%d" % number, str(number))], previous))
        previous = str(number)
    async with asyncio.timeout(20):
        assert await asyncio.gather(*futures) == list(range(1, 1501))
    await follower.until(lambda f: len(f.data()) == 1500)
    assert follower.data() == [b"%d" % number for number in range(1, 1501)]


async def test_a_second_writer_is_refused_and_changes_nothing(bus: Bus, broker) -> None:
    await bus.ensure_stream(SPEC)
    await (await bus.send_chain([Link("s.x", b"1", "1")], ""))
    usurper = await broker.connect()
    await (await usurper.send_chain([Link("s.x", b"2", "2")], "1"))

    stale = [
        await bus.send_chain([Link("s.x", b"3", "3")], "1"),
        await bus.send_chain([Link("s.x", b"4", "4")], "3"),
    ]
    for future in stale:
        with pytest.raises(StaleWriterError):
            await future
    last = await bus.last_message("S")
    assert last is not None
    assert last.data == b"2"


async def test_a_writer_that_pipelines_hears_of_the_usurper(bus: Bus, broker) -> None:
    await bus.ensure_stream(SPEC)
    usurper = await broker.connect()
    await (await bus.send_chain([Link("s.x", b"1", "1")], ""))
    await (await bus.send_chain([Link("s.x", b"2", "2")], "1"))
    await (await usurper.send_chain([Link("s.x", b"u", "u")], "2"))
    with pytest.raises(StaleWriterError):
        await (await bus.send_chain([Link("s.x", b"3", "3")], "2"))
    await (await usurper.send_chain([Link("s.x", b"v", "v")], "u"))


async def test_the_acknowledgement_of_a_chain_speaks_for_all_its_links(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    chain = [Link(f"s.{number % 3}", b"%d" % number, str(number)) for number in range(1, 101)]
    assert await (await bus.send_chain(chain[:40], "")) == 40
    assert await (await bus.send_chain(chain[40:], "40")) == 100


async def test_of_a_stale_chain_nothing_is_stored(bus: Bus, broker) -> None:
    await bus.ensure_stream(SPEC)
    usurper = await broker.connect()
    await (await bus.send_chain([Link("s.x", b"1", "1")], ""))
    await (await usurper.send_chain([Link("s.x", b"u", "u")], "1"))
    with pytest.raises(StaleWriterError):
        await (await bus.send_chain([Link("s.x", b"2", "2"), Link("s.y", b"3", "3"), Link("s.z", b"4", "4")], "1"))
    last = await bus.last_message("S")
    assert last is not None
    assert (last.sequence, last.data) == (2, b"u")


async def test_the_first_writer_must_find_an_empty_stream(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("s.x", b"1", message_id="1")
    with pytest.raises(StaleWriterError):
        await (await bus.send_chain([Link("s.x", b"2", "2")], ""))


async def test_an_emptied_stream_counts_as_empty(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("s.x", b"1", message_id="1")
    await bus.purge("S")
    assert await (await bus.send_chain([Link("s.x", b"2", "2")], "")) == 2


async def test_two_chains_with_the_same_ids_do_not_disturb_one_another(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    await bus.ensure_stream(StreamSpec(name="T", subjects=("t.>",)))
    futures = []
    for number in range(1, 20):
        previous = str(number - 1) if number > 1 else ""
        futures.extend(
            [
                await bus.send_chain([Link("s.x", b"", str(number))], previous),
                await bus.send_chain([Link("t.x", b"", str(number))], previous),
            ]
        )
    assert await asyncio.gather(*futures) == [number for number in range(1, 20) for _ in range(2)]


async def test_a_full_work_queue_refuses_rather_than_forgets(bus: Bus) -> None:
    await bus.ensure_stream(StreamSpec(name="W", subjects=("w.>",), retention="workqueue", max_messages=2))
    await bus.append("w.x", b"1")
    await bus.append("w.x", b"2")
    with pytest.raises(BusError, match=r"(W|w\.x)"):
        await bus.append("w.x", b"3")


async def test_limits_drop_the_oldest(bus: Bus, followed) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), max_messages=2))
    for name in ("a", "b", "c"):
        await bus.append(f"s.{name}", name.encode())
    follower = followed(bus, "S", "s.>")
    await follower.until(lambda f: f.synced)
    assert follower.data() == [b"b", b"c"]


async def test_a_stream_is_brought_to_its_specification(bus: Bus, followed) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), max_per_subject=1))
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>", "z.>"), max_per_subject=5))
    await bus.append("z.x", b"1")
    assert await bus.append("z.x", b"2") == 2


async def test_what_cannot_be_changed_is_named(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    with pytest.raises(BusError, match="storage"):
        await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",), storage="memory"))


async def test_a_ttl_needs_the_setting(bus: Bus) -> None:
    await bus.ensure_stream(StreamSpec(name="S", subjects=("s.>",)))
    with pytest.raises(BusError, match=r"(?i)ttl"):
        await (await bus.send("s.x", b"", ttl=60))


async def test_a_message_is_gone_after_its_ttl(bus: Bus, eventually) -> None:
    await bus.ensure_stream(SPEC)
    await bus.append("s.kept", b"")
    await (await bus.send("s.x", b"", ttl=0.5))

    async def gone() -> bool:
        last = await bus.last_message("S")
        return last is not None and last.subject == "s.kept"

    assert not await gone()
    await eventually(gone)


async def test_a_message_larger_than_the_bus_takes_is_refused(bus: Bus) -> None:
    await bus.ensure_stream(SPEC)
    assert await bus.append("s.x", b"x" * (6 << 20)) == 1
    with pytest.raises(BusError, match="larger"):
        await bus.append("s.x", b"x" * ((8 << 20) + 1))
