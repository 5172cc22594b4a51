"""A watch shows every change once, in the order and under the versions that the writers were told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from orch.errors import CompactedError
from orch.store import keys
from orch.store.places import with_index
from orch.store.protocol import Event, Store, Write, version_of

Collect = Callable[..., Awaitable[list[Event]]]


async def test_begins_with_an_empty_batch_once_it_stands(store: Store, prefix: bytes) -> None:
    revision = await store.revision()
    async with asyncio.timeout(10), contextlib.aclosing(store.watch(*keys.EVERYTHING, revision=revision + 1)) as watch:
        first = await anext(watch)
        assert first.events == []
        assert first.revision == revision
        written = await store.write(Write(prefix + b"a", b"x", 0))
        second = await anext(watch)
        assert second.revision == written.revision
        assert second.events == [Event(prefix + b"a", with_index(b"x", 0), written.revision, 0, created=True)]


async def test_from_now_on_with_revision_zero(store: Store, prefix: bytes) -> None:
    before = await store.write(Write(prefix + b"a", b"old", 0))
    async with asyncio.timeout(10), contextlib.aclosing(store.watch(*keys.EVERYTHING, revision=0)) as watch:
        assert (await anext(watch)).revision == before.revision
        written = await store.write(Write(prefix + b"a", b"new", None))
        assert [event.revision for event in (await anext(watch)).events] == [written.revision]


async def test_shows_only_keys_in_range(store: Store, prefix: bytes, collect: Collect) -> None:
    start = await store.revision() + 1
    await store.write(Write(prefix + b"inside/a", b"x", 0))
    await store.write(Write(prefix + b"outside", b"x", 0))
    await store.write(Write(prefix + b"inside/b", b"x", 0))
    events = await collect(store, prefix + b"inside/", start, 2)
    assert [event.key for event in events] == [prefix + b"inside/a", prefix + b"inside/b"]


async def test_tells_creation_from_change_and_deletion(store: Store, prefix: bytes, collect: Collect) -> None:
    key = prefix + b"a"
    start = await store.revision() + 1
    for value in (b"1", b"2", None, b"3"):
        await store.write(Write(key, value, None))
    events = await collect(store, prefix, start, 4)
    assert [event.created for event in events] == [True, False, False, True]
    assert [event.value is None for event in events] == [False, False, True, False]


async def test_versions_seen_are_those_the_writers_were_told(store: Store, prefix: bytes, collect: Collect) -> None:
    start = await store.revision() + 1
    told: dict[tuple[bytes, bytes | None], int] = {}

    async def write(number: int) -> None:
        key = prefix + b"%d" % number
        for value in (b"1", b"2", None, b"3"):
            written = await store.write(Write(key, value, None))
            told[key, with_index(value, written.index) if value else None] = version_of(written.revision, written.index)

    await asyncio.gather(*(write(number) for number in range(200)))
    events = await collect(store, prefix, start, 800)

    versions = [version_of(event.revision, event.index) for event in events]
    assert versions == sorted(set(versions))
    assert {(event.key, event.value): version_of(event.revision, event.index) for event in events} == told
    assert len({event.revision for event in events}) < 400


async def test_a_deletion_takes_the_place_after_its_predecessor(store: Store, prefix: bytes, collect: Collect) -> None:
    await store.write_all([Write(prefix + name, b"x", 0) for name in (b"a", b"b", b"c", b"d")])
    results = await store.write_all(
        [
            Write(prefix + b"a", None, None),
            Write(prefix + b"b", b"fails", 0),
            Write(prefix + b"e", b"put", 0),
            Write(prefix + b"c", None, None),
            Write(prefix + b"absent", None, None),
            Write(prefix + b"d", None, None),
            Write(prefix + b"f", b"put", 0),
        ]
    )
    revision = results[0].revision
    assert [result.succeeded for result in results] == [True, False, True, True, True, True, True]
    assert [results[place].index for place in (0, 2, 3, 5, 6)] == [0, 2, 3, 4, 6]
    events = await collect(store, prefix, revision, 5)
    assert [(event.revision, event.index) for event in events] == [(revision, index) for index in (0, 2, 3, 4, 6)]


async def test_resumes_from_a_middle_revision(store: Store, prefix: bytes, collect: Collect) -> None:
    start = await store.revision() + 1
    for number in range(10):
        await store.write_all([Write(prefix + b"%d-%d" % (number, i), b"x", 0) for i in range(3)])
    everything = await collect(store, prefix, start, 30)
    for cut in (0, 7, 14, 29):
        revision = everything[cut].revision
        expected = [event for event in everything if event.revision > revision]
        assert await collect(store, prefix, revision + 1, len(expected)) == expected


async def test_never_splits_a_revision(store: Store, prefix: bytes) -> None:
    start = await store.revision() + 1
    writes = [Write(prefix + b"%04d" % i, b"x" * 2000, None) for i in range(1000)]
    for _ in range(3):
        await store.write_all(writes)
    last = 0
    count = 0
    async with asyncio.timeout(20), contextlib.aclosing(store.watch(*keys.EVERYTHING, revision=start)) as watch:
        async for batch in watch:
            if batch.events:
                assert batch.events[0].revision > last
                last = batch.events[-1].revision
                assert batch.revision == last
            count += len(batch.events)
            if count == 3000:
                break


async def test_a_compacted_revision_is_refused_and_the_oldest_named(
    store: Store, prefix: bytes, collect: Collect
) -> None:
    start = await store.write(Write(prefix + b"a", b"1", 0))
    await store.write(Write(prefix + b"a", b"2", None))
    deleted = await store.write(Write(prefix + b"a", None, None))
    await store.write(Write(prefix + b"a", b"3", None))
    await store.compact(deleted.revision)

    for gone in (start.revision, deleted.revision - 1):
        with pytest.raises(CompactedError) as refused:
            await collect(store, prefix, gone, 1)
        assert refused.value.compacted == deleted.revision
    # The deletion was made at the very revision that is the oldest one kept.
    assert [event.value for event in await collect(store, prefix, deleted.revision, 2)] == [None, with_index(b"3", 0)]


async def test_many_watches_see_the_same(store: Store, prefix: bytes, collect: Collect) -> None:
    start = await store.revision() + 1
    watches = [asyncio.create_task(collect(store, prefix, start, 300)) for _ in range(10)]
    await asyncio.gather(*(store.write(Write(prefix + b"%d" % i, b"x", 0)) for i in range(300)))
    seen = await asyncio.gather(*watches)
    assert all(events == seen[0] for events in seen)
    assert len({event.key for event in seen[0]}) == 300
