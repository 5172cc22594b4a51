"""Leases of the store in memory end by the clock that it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orch.clock import ManualClock
from orch.errors import LeaseLostError
from orch.store.memory import MemoryStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(clock)
    yield store
    await store.close()


async def test_a_lease_takes_its_keys_along(store: MemoryStore, clock: ManualClock) -> None:
    lease = await store.lease_grant(2.5)
    await store.acquire(b"/a", b"x", lease)
    await clock.advance(2.9)
    assert await store.get(b"/a") is not None
    await clock.advance(0.2)
    assert await store.get(b"/a") is None
    with pytest.raises(LeaseLostError):
        await store.lease_refresh(lease)


async def test_refreshing_moves_the_end(store: MemoryStore, clock: ManualClock) -> None:
    lease = await store.lease_grant(3)
    await store.acquire(b"/a", b"x", lease)
    for _ in range(5):
        await clock.advance(2)
        await store.lease_refresh(lease)
    assert await store.get(b"/a") is not None
    await clock.advance(4)
    assert await store.get(b"/a") is None


async def test_a_write_without_a_lease_frees_the_key(store: MemoryStore, clock: ManualClock) -> None:
    lease = await store.lease_grant(1)
    await store.acquire(b"/a", b"x", lease)
    await store.acquire(b"/b", b"x", lease)
    await clock.advance(2)
    taken = await store.lease_grant(100)
    assert (await store.acquire(b"/a", b"y", taken)).lease == taken
    await clock.advance(50)
    assert await store.get(b"/a") is not None
