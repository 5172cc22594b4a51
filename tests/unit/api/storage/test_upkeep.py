import asyncio

import pytest

from orch.clock import rfc3339
from orch.errors import CompactedError
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api


@pytest.fixture
async def hasty(clock, make_driver):
    """An api that forgets quickly, so that little time has to pass."""
    async with in_memory_api(clock, config=ApiConfig(event_ttl=60, compaction_interval=20)) as api:
        yield make_driver(api)


async def event(driver, name, **times):
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    return await driver.create("events", {"metadata": {"name": name}, "involvedObject": about, **times})


async def test_events_go_when_they_were_not_seen_for_their_time_to_live(hasty):
    await event(hasty, "old")
    await hasty.clock.advance(40)
    await event(hasty, "new")
    await event(hasty, "seen", lastTimestamp=rfc3339(hasty.clock.now()))
    await hasty.patch("events", "old", {"count": 2})
    await hasty.clock.advance(25)
    await hasty.core.cache.catch_up()
    await hasty.core.upkeep.expire_events()
    assert not await hasty.exists("events", "old")
    assert await hasty.exists("events", "new")
    assert await hasty.exists("events", "seen")


async def test_an_event_that_is_seen_again_stays(hasty):
    await event(hasty, "old")
    await hasty.clock.advance(40)
    await hasty.patch("events", "old", {"lastTimestamp": rfc3339(hasty.clock.now())})
    await hasty.clock.advance(40)
    await hasty.core.cache.catch_up()
    assert await hasty.core.upkeep.expire_events() == 0
    assert await hasty.exists("events", "old")


async def test_old_events_are_looked_for_regularly(hasty):
    await event(hasty, "old")
    async with asyncio.timeout(10):
        while await hasty.exists("events", "old"):
            await hasty.clock.advance(5)


async def test_what_is_older_than_a_period_is_compacted(hasty):
    store = hasty.core.store
    first = await store.revision()
    for name in "ab":
        await hasty.create("configmaps", {"metadata": {"name": name}})
    started = hasty.clock.monotonic()
    async with asyncio.timeout(10):
        while not await compacted(store, first):
            recent = await store.revision()
            await hasty.clock.advance(1)
    assert hasty.clock.monotonic() - started >= 20
    assert not await compacted(store, recent)


async def compacted(store, revision):
    try:
        await store.range(b"\x00", b"\x00", revision=revision)
    except CompactedError:
        return True
    return False
