"""Ranges, revisions and snapshots."""

from __future__ import annotations

import asyncio

import pytest

from orch.errors import CompactedError, StoreError, UnavailableError
from orch.store import keys
from orch.store.protocol import Store, Write


async def test_pages_in_order_as_of_one_revision(store: Store, prefix: bytes) -> None:
    await store.write_all([Write(prefix + b"%d" % i, b"x", 0) for i in range(5)])
    end = keys.prefix_end(prefix)
    first = await store.range(prefix, end, limit=2)
    assert [item.key for item in first.items] == [prefix + b"0", prefix + b"1"]
    assert first.more
    await store.write(Write(prefix + b"3", None, None))
    await store.write(Write(prefix + b"1a", b"late", 0))

    rest = await store.range(first.items[-1].key + b"\x00", end, limit=3, revision=first.revision)
    assert [item.key for item in rest.items] == [prefix + b"2", prefix + b"3", prefix + b"4"]
    assert not rest.more
    assert rest.revision == first.revision


async def test_reads_everything(store: Store, prefix: bytes) -> None:
    await store.write(Write(prefix + b"a", b"x", 0))
    found = await store.range(*keys.EVERYTHING)
    assert prefix + b"a" in {item.key for item in found.items}
    assert found.revision == await store.revision()


async def test_an_old_value_stays_readable(store: Store, prefix: bytes) -> None:
    old = await store.write(Write(prefix + b"a", b"old", 0))
    await store.write(Write(prefix + b"a", b"new", old.revision))
    found = await store.range(prefix, keys.prefix_end(prefix), revision=old.revision)
    assert [item.value[2:] for item in found.items] == [b"old"]


async def test_a_future_revision_is_refused(store: Store, prefix: bytes) -> None:
    with pytest.raises(StoreError, match="future"):
        await store.range(prefix, keys.prefix_end(prefix), revision=await store.revision() + 100)


async def test_a_revision_is_never_older_than_the_write_before_it(store: Store, prefix: bytes) -> None:
    async def write_then_ask(number: int) -> None:
        written = await store.write(Write(prefix + b"%d" % number, b"x", 0))
        assert await store.revision() >= written.revision

    await asyncio.gather(*(write_then_ask(number) for number in range(100)))


async def test_compaction_forgets_what_is_older(store: Store, prefix: bytes) -> None:
    end = keys.prefix_end(prefix)
    first = await store.write(Write(prefix + b"a", b"1", 0))
    second = await store.write(Write(prefix + b"a", b"2", first.revision))
    third = await store.write(Write(prefix + b"a", b"3", second.revision))
    await store.write(Write(prefix + b"b", b"1", 0))

    await store.compact(third.revision)
    await store.compact(third.revision)
    await store.compact(first.revision)

    found = await store.range(prefix, end, revision=third.revision)
    assert [item.value[2:] for item in found.items] == [b"3"]
    with pytest.raises(CompactedError):
        await store.range(prefix, end, revision=first.revision)
    assert len((await store.range(prefix, end)).items) == 2
    with pytest.raises(StoreError, match="future"):
        await store.compact(await store.revision() + 100)


async def test_the_snapshot_holds_something(store: Store, prefix: bytes) -> None:
    await store.write(Write(prefix + b"a", b"a value to find", 0))
    pieces = [piece async for piece in store.snapshot()]
    assert sum(map(len, pieces)) > 0


async def test_the_status_tells_version_size_and_revision(store: Store, prefix: bytes) -> None:
    written = await store.write(Write(prefix + b"a", b"x", 0))
    status = await store.status()
    assert status.version
    assert status.size > 0
    assert status.revision >= written.revision


async def test_a_closed_store_is_unavailable(store: Store, prefix: bytes) -> None:
    await store.close()
    with pytest.raises(UnavailableError):
        await store.get(prefix)
    with pytest.raises(UnavailableError):
        await store.write(Write(prefix, b"x", 0))
    with pytest.raises(UnavailableError):
        await store.revision()
    with pytest.raises(UnavailableError):
        await anext(store.watch(prefix, keys.prefix_end(prefix), revision=1))
