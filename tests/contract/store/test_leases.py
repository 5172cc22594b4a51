"""Leases keep keys alive, and take them along when they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from orch.errors import LeaseLostError
from orch.store.protocol import Event, Store

Collect = Callable[..., Awaitable[list[Event]]]


async def test_the_first_to_acquire_holds_the_key(store: Store, prefix: bytes) -> None:
    mine, theirs = await store.lease_grant(30), await store.lease_grant(30)
    held = await store.acquire(prefix + b"leader", b"me", mine)
    seen = await store.acquire(prefix + b"leader", b"you", theirs)
    assert held == seen == await store.get(prefix + b"leader")
    assert held.lease == mine
    assert held.value == b"me"
    assert held.create_revision == held.mod_revision


async def test_revoking_deletes_the_keys(store: Store, prefix: bytes, collect: Collect) -> None:
    lease = await store.lease_grant(30)
    held = await store.acquire(prefix + b"a", b"x", lease)
    await store.acquire(prefix + b"b", b"x", lease)
    await store.lease_revoke(lease)
    await store.lease_revoke(lease)
    assert await store.get(prefix + b"a") is None
    events = await collect(store, prefix, held.mod_revision + 2, 2)
    assert [(event.key, event.value, event.index) for event in events] == [
        (prefix + b"a", None, 0),
        (prefix + b"b", None, 1),
    ]
    with pytest.raises(LeaseLostError):
        await store.lease_refresh(lease)
    with pytest.raises(LeaseLostError):
        await store.acquire(prefix + b"c", b"x", lease)


async def test_a_lease_ends_when_it_is_not_refreshed(store: Store, prefix: bytes, collect: Collect) -> None:
    lease = await store.lease_grant(1)
    held = await store.acquire(prefix + b"a", b"x", lease)
    started = time.monotonic()
    events = await collect(store, prefix, held.mod_revision + 1, 1)
    assert events[0].value is None
    assert 0.8 <= time.monotonic() - started < 10
    with pytest.raises(LeaseLostError):
        await store.lease_refresh(lease)


async def test_refreshing_keeps_it_alive(store: Store, prefix: bytes, collect: Collect) -> None:
    refreshed, left = await store.lease_grant(2), await store.lease_grant(2)
    await store.acquire(prefix + b"kept", b"x", refreshed)
    held = await store.acquire(prefix + b"left", b"x", left)
    ended = asyncio.create_task(collect(store, prefix, held.mod_revision + 1, 1))
    while not ended.done():
        await store.lease_refresh(refreshed)
        await asyncio.wait([ended], timeout=0.2)
    assert [event.key for event in ended.result()] == [prefix + b"left"]
    assert await store.get(prefix + b"kept") is not None
    await store.lease_revoke(refreshed)
