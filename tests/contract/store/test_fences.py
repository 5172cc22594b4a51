"""A fenced write commits only while its leader's key stands."""

from __future__ import annotations

import asyncio

from orch.store.protocol import Compare, Store, Write


async def test_holds_while_the_leader_key_stands(store: Store, prefix: bytes) -> None:
    lease = await store.lease_grant(30)
    held = await store.acquire(prefix + b"leader", b"me", lease)
    fence = Compare(held.key, held.create_revision)
    assert (await store.write(Write(prefix + b"a", b"1", 0, fence))).succeeded
    assert (await store.write(Write(prefix + b"b", b"1", None, fence))).succeeded


async def test_a_lost_fence_is_told_apart_from_a_lost_swap(store: Store, prefix: bytes) -> None:
    lease = await store.lease_grant(30)
    held = await store.acquire(prefix + b"leader", b"me", lease)
    fence = Compare(held.key, held.create_revision)
    await store.write(Write(prefix + b"a", b"1", 0, fence))

    lost_swap = await store.write(Write(prefix + b"a", b"2", 0, fence))
    assert not lost_swap.succeeded
    assert not lost_swap.fenced
    assert lost_swap.current is not None

    await store.lease_revoke(lease)
    for expected in (0, None, lost_swap.current.mod_revision):
        lost = await store.write(Write(prefix + b"a", b"3", expected, fence))
        assert not lost.succeeded
        assert lost.fenced


async def test_the_next_leader_fences_out_the_one_before(store: Store, prefix: bytes) -> None:
    first = await store.lease_grant(30)
    old = await store.acquire(prefix + b"leader", b"old", first)
    await store.lease_revoke(first)
    new = await store.acquire(prefix + b"leader", b"new", await store.lease_grant(30))

    results = await asyncio.gather(
        store.write(Write(prefix + b"a", b"old", None, Compare(old.key, old.create_revision))),
        store.write(Write(prefix + b"b", b"new", None, Compare(new.key, new.create_revision))),
        store.write(Write(prefix + b"c", b"free", None)),
    )
    assert [result.succeeded for result in results] == [False, True, True]
    assert results[0].fenced
    assert await store.get(prefix + b"a") is None


async def test_a_fence_without_a_revision_never_holds(store: Store, prefix: bytes) -> None:
    lost = await store.write(Write(prefix + b"a", b"1", 0, Compare(prefix + b"absent", 0)))
    assert not lost.succeeded
    assert lost.fenced


async def test_a_full_batch_of_fenced_writes_commits(store: Store, prefix: bytes) -> None:
    held = await store.acquire(prefix + b"leader", b"me", await store.lease_grant(30))
    fence = Compare(held.key, held.create_revision)
    results = await store.write_all([Write(prefix + b"%03d" % i, b"x", 0, fence) for i in range(300)])
    assert all(result.succeeded for result in results)
