import asyncio

import pytest

from orch.errors import ExpiredError
from orch_api.storage import history
from orch_api.storage.history import MAX_AGE


async def following(subscription, count):
    seen = []
    async with asyncio.timeout(5):
        while len(seen) < count:
            seen += await anext(subscription)
    return [(event.type, event.item.key.name) for event in seen]


async def test_a_watch_gets_every_change_once_in_order(cache, objects):
    subscription = cache.subscribe("", "configmaps", since=None)
    first = await objects.put("a")
    await objects.put("a", data={"x": "1"})
    gone = await objects.remove("a")
    assert await following(subscription, 3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert first < gone
    assert subscription.progress == cache.version
    subscription.close()


async def test_a_watch_resumes_where_it_was(cache, objects):
    await objects.put("a")
    version = await objects.put("b")
    await objects.put("c")
    await cache.catch_up()
    subscription = cache.subscribe("", "configmaps", since=version)
    await objects.put("d")
    assert await following(subscription, 2) == [("ADDED", "c"), ("ADDED", "d")]
    subscription.close()


async def test_neighbours_in_one_revision_are_told_apart(cache, objects):
    versions = await asyncio.gather(*(objects.put(name) for name in "abc"))
    assert len({version >> 10 for version in versions}) == 1
    await cache.catch_up()
    subscription = cache.subscribe("", "configmaps", since=versions[1])
    assert await following(subscription, 1) == [("ADDED", "c")]
    subscription.close()


async def test_a_watch_of_a_namespace_sees_that_namespace_only(cache, objects):
    start = cache.version
    await objects.put("a", "one")
    await objects.put("b", "two")
    await cache.catch_up()
    resumed = cache.subscribe("", "configmaps", "two", since=start)
    live = cache.subscribe("", "configmaps", "two", since=None)
    await objects.put("c", "one")
    await objects.put("d", "two")
    assert await following(resumed, 2) == [("ADDED", "b"), ("ADDED", "d")]
    assert await following(live, 1) == [("ADDED", "d")]
    resumed.close()
    live.close()


async def test_before_the_start_of_the_cache_there_is_no_history(cache):
    start = cache.version
    cache.subscribe("", "configmaps", since=start).close()
    with pytest.raises(ExpiredError, match=rf"^too old resource version: 5 \({start}\)$") as expired:
        cache.subscribe("", "configmaps", since=5)
    assert expired.value.code == 410


async def test_the_history_is_bounded_by_events(cache, objects, monkeypatch):
    monkeypatch.setattr(history, "MAX_EVENTS", 8)
    start = cache.version
    versions = [await objects.put(f"c{n}") for n in range(12)]
    await cache.catch_up()
    with pytest.raises(ExpiredError):
        cache.subscribe("", "configmaps", since=start)
    cache.subscribe("", "configmaps", since=versions[-3]).close()


async def test_the_history_is_bounded_by_bytes(cache, objects, monkeypatch):
    monkeypatch.setattr(history, "MAX_BYTES", 2000)
    start = cache.version
    await objects.put("a", data={"x": "y" * 1500})
    await objects.put("b", data={"x": "y" * 1500})
    await cache.catch_up()
    with pytest.raises(ExpiredError):
        cache.subscribe("", "configmaps", since=start)


async def test_the_history_is_bounded_by_age(cache, objects, clock):
    start = cache.version
    version = await objects.put("a")
    await cache.catch_up()
    await clock.advance(MAX_AGE + 60)
    with pytest.raises(ExpiredError):
        cache.subscribe("", "configmaps", since=start)
    cache.subscribe("", "configmaps", since=version).close()


async def test_a_follower_that_is_too_slow_is_disconnected(cache, objects):
    tap = cache.tap(3)
    for n in range(5):
        await objects.put(f"c{n}")
    await cache.catch_up()
    with pytest.raises(ExpiredError):
        await anext(tap)
    tap.close()


async def test_a_closed_subscription_ends(cache):
    subscription = cache.subscribe("", "configmaps", since=None)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    subscription.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 5)
    subscription.close()


async def test_a_cancelled_wait_loses_nothing(cache, objects):
    subscription = cache.subscribe("", "configmaps", since=None)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await objects.put("a")
    assert await following(subscription, 1) == [("ADDED", "a")]
    subscription.close()
