"""Every write is a compare-and-swap whose loser learns what is there."""

from __future__ import annotations

import asyncio

import pytest

from orch.errors import StoreError
from orch.store.places import with_index
from orch.store.protocol import MAX_OPERATIONS, Store, Write


async def test_creates_only_if_absent(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    first = await store.write(Write(key, b"one", 0))
    second = await store.write(Write(key, b"two", 0))

    assert first.succeeded
    assert not second.succeeded
    assert not second.fenced
    assert second.current == await store.get(key)
    assert second.current is not None
    assert second.current.value == with_index(b"one", first.index)
    assert second.current.mod_revision == second.current.create_revision == first.revision


async def test_replaces_only_the_expected_revision(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    created = await store.write(Write(key, b"one", 0))
    updated = await store.write(Write(key, b"two", created.revision))
    stale = await store.write(Write(key, b"three", created.revision))

    assert updated.succeeded
    assert updated.revision > created.revision
    assert not stale.succeeded
    assert stale.current is not None
    assert stale.current.value == with_index(b"two", 0)
    assert stale.current.mod_revision == updated.revision
    assert stale.current.create_revision == created.revision


async def test_writes_in_any_case_without_expectation(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    assert (await store.write(Write(key, b"one", None))).succeeded
    assert (await store.write(Write(key, b"two", None))).succeeded


async def test_deletes_only_the_expected_revision(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    created = await store.write(Write(key, b"one", 0))
    stale = await store.write(Write(key, None, created.revision - 1))
    assert not stale.succeeded
    assert stale.current is not None

    deleted = await store.write(Write(key, None, created.revision))
    assert deleted.succeeded
    assert deleted.revision > created.revision
    assert await store.get(key) is None

    again = await store.write(Write(key, None, created.revision))
    assert not again.succeeded
    assert again.current is None


async def test_deleting_what_is_absent_changes_nothing(store: Store, prefix: bytes) -> None:
    before = await store.revision()
    deleted = await store.write(Write(prefix + b"a", None, None))
    assert deleted.succeeded
    assert deleted.revision == await store.revision() == before


async def test_a_failed_write_makes_no_revision(store: Store, prefix: bytes) -> None:
    created = await store.write(Write(prefix + b"a", b"one", 0))
    failed = await store.write(Write(prefix + b"a", b"two", 0))
    assert failed.revision == await store.revision() == created.revision


async def test_concurrent_swaps_of_one_key_let_one_win(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    created = await store.write(Write(key, b"start", 0))
    results = await asyncio.gather(*(store.write(Write(key, b"%d" % i, created.revision)) for i in range(20)))
    assert [result.succeeded for result in results] == [True] + [False] * 19


async def test_writes_of_one_key_keep_their_order(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    results = await asyncio.gather(*(store.write(Write(key, b"%d" % i, None)) for i in range(30)))
    revisions = [result.revision for result in results]
    assert revisions == sorted(set(revisions))
    current = await store.get(key)
    assert current is not None
    assert current.value == with_index(b"29", 0)


async def test_a_batch_succeeds_and_fails_one_by_one(store: Store, prefix: bytes) -> None:
    taken = await store.write(Write(prefix + b"taken", b"x", 0))
    results = await store.write_all(
        [
            Write(prefix + b"a", b"1", 0),
            Write(prefix + b"taken", b"2", 0),
            Write(prefix + b"b", b"3", 0),
            Write(prefix + b"missing", b"4", 7),
        ]
    )
    assert [result.succeeded for result in results] == [True, False, True, False]
    assert results[0].revision == results[2].revision
    assert (results[0].index, results[2].index) == (0, 2)
    assert results[1].current is not None
    assert results[1].current.mod_revision == taken.revision
    assert results[3].current is None


async def test_more_writes_than_a_transaction_holds(store: Store, prefix: bytes) -> None:
    count = 5 * MAX_OPERATIONS
    results = await store.write_all([Write(prefix + b"%04d" % i, b"x", 0) for i in range(count)])
    assert all(result.succeeded for result in results)
    assert len({(result.revision, result.index) for result in results}) == count
    assert len((await store.range(prefix, prefix[:-1] + b"0")).items) == count


async def test_large_values_are_split_by_bytes(store: Store, prefix: bytes) -> None:
    value = b"x" * 300_000
    results = await store.write_all([Write(prefix + b"%d" % i, value, 0) for i in range(12)])
    assert all(result.succeeded for result in results)
    assert len({result.revision for result in results}) >= 4


async def test_the_keys_of_one_call_must_differ(store: Store, prefix: bytes) -> None:
    with pytest.raises(ValueError, match="must differ"):
        await store.write_all([Write(prefix + b"a", b"1", 0), Write(prefix + b"a", b"2", 0)])


async def test_a_refused_write_does_not_harm_its_neighbours(store: Store, prefix: bytes) -> None:
    results = await asyncio.gather(
        store.write(Write(prefix + b"a", b"1", 0)),
        store.write(Write(b"", b"a key must not be empty", 0)),
        store.write(Write(prefix + b"b", b"2", 0)),
        return_exceptions=True,
    )
    assert isinstance(results[1], StoreError)
    assert await store.get(prefix + b"a") is not None
    assert await store.get(prefix + b"b") is not None


async def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert await store.write_all([]) == []
