import asyncio
import contextlib
import json

import pytest

from orch import errors
from orch.clock import ManualClock
from orch.errors import CompactedError, UnavailableError
from orch.store import keys
from orch.store.memory import MemoryStore
from orch.store.protocol import Write, last_version
from orch_api.storage.cache import ObjectCache


def names(cache, namespace="", resource="configmaps"):
    return [f"{item.key.namespace}/{item.key.name}" for item in cache.select("", resource, namespace)]


@contextlib.asynccontextmanager
async def running(cache):
    task = asyncio.create_task(cache.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_there_at_the_start_is_read_in_pages(store, objects, clock):
    await asyncio.gather(*(objects.put(f"c{n:04}") for n in range(2500)))
    cache = ObjectCache(store, clock)
    async with running(cache):
        await cache.wait_ready(10)
        assert len(cache.select("", "configmaps", "default")) == 2500
        assert cache.version == last_version(await store.revision())


async def test_a_consistent_read_sees_every_write_before_it(cache, objects):
    for n in range(20):
        version = await objects.put("c", data={"n": str(n)})
        await cache.catch_up()
        item = cache.get(objects.key("c"))
        assert item.version == version
        assert json.loads(item.json)["data"] == {"n": str(n)}


async def test_a_deleted_object_is_gone(cache, objects):
    await objects.put("c")
    await objects.remove("c")
    await cache.catch_up()
    assert cache.get(objects.key("c")) is None
    assert names(cache) == []


async def test_keys_that_are_no_objects_move_the_version_along(cache, store):
    await store.write(Write(keys.leader_key("x"), b"", None))
    assert await cache.catch_up() == last_version(await store.revision())


async def test_lists_are_in_the_order_of_the_store_s_keys(cache, objects, store):
    for namespace in ("b", "a", "a-b", "a.b"):
        for name in ("z", "y-1", "y"):
            await objects.put(name, namespace)
    await cache.catch_up()
    prefix = keys.objects_prefix("", "configmaps")
    stored = await store.range(prefix, keys.prefix_end(prefix))
    assert names(cache) == [item.key.removeprefix(prefix).decode() for item in stored.items]
    assert names(cache, "a") == ["a/y", "a/y-1", "a/z"]
    await objects.put("x", "a")
    await cache.catch_up()
    assert names(cache, "a") == ["a/x", "a/y", "a/y-1", "a/z"]


async def test_a_change_elsewhere_leaves_a_namespace_s_list_as_it_is(cache, objects):
    await objects.put("c", "a")
    await cache.catch_up()
    before = cache.select("", "configmaps", "a")
    await objects.put("c", "b")
    await cache.catch_up()
    assert cache.select("", "configmaps", "a") is before


async def test_pods_are_found_by_their_node(cache, objects):
    await objects.put("p", resource="pods", spec={"nodeName": "n"})
    await objects.put("q", resource="pods", spec={})
    await cache.catch_up()
    assert [pod.key.name for pod in cache.pods_of("n")] == ["p"]
    await objects.put("q", resource="pods", spec={"nodeName": "n"})
    await objects.remove("p", resource="pods")
    await cache.catch_up()
    assert [pod.key.name for pod in cache.pods_of("n")] == ["q"]
    await objects.put("q", resource="pods", spec={"nodeName": "m"})
    await cache.catch_up()
    assert list(cache.pods_of("n")) == []


async def test_a_version_that_is_still_to_come_is_waited_for_and_then_refused(cache, objects):
    version = await objects.put("c")
    assert await cache.wait_for(version) >= version
    future = last_version((version >> 10) + 1000)
    with pytest.raises(errors.TimeoutError) as late:
        await cache.wait_for(future, timeout=0.01)
    assert late.value.code == 504
    assert late.value.message == f"Timeout: Too large resource version: {future}, current: {cache.version}"
    assert late.value.details.causes[0].reason == "ResourceVersionTooLarge"


async def test_a_value_that_cannot_be_read_is_left_out(cache, objects, store):
    await store.write(Write(keys.object_key(objects.key("broken")), b"\xff\xff", None))
    await objects.put("c")
    await cache.catch_up()
    assert names(cache) == ["default/c"]


class Compacting(MemoryStore):
    """A store whose watch ends once, as when the cache fell behind a compaction."""

    def __init__(self) -> None:
        super().__init__()
        self.end = asyncio.Event()
        self.resume = asyncio.Event()

    async def watch(self, start, end, *, revision):
        if self.end.is_set():
            await self.resume.wait()
            async for batch in super().watch(start, end, revision=revision):
                yield batch
        yield (await anext(super().watch(start, end, revision=revision)))
        await self.end.wait()
        raise CompactedError(1)


async def test_after_a_compaction_followers_get_the_differences(make_objects):
    store = Compacting()
    cache = ObjectCache(store)
    objects = make_objects(store)
    await objects.put("kept")
    await objects.put("changed")
    await objects.put("removed")
    async with running(cache):
        await cache.wait_ready(5)
        subscription = cache.subscribe("", "configmaps", since=cache.version)
        await objects.put("changed", data={"a": "1"})
        await objects.put("added")
        await objects.remove("removed")
        store.end.set()
        seen = []
        async with asyncio.timeout(5):
            while len(seen) < 3:
                seen += [(event.type, event.item.key.name) for event in await anext(subscription)]
        assert seen == [("MODIFIED", "changed"), ("ADDED", "added"), ("DELETED", "removed")]
        store.resume.set()
        assert names(cache) == ["default/added", "default/changed", "default/kept"]
    subscription.close()
    await store.close()


async def test_an_unreachable_store_is_tried_again(clock: ManualClock):
    store = MemoryStore(clock)
    reached = asyncio.Event()
    read = store.range

    async def fail_first(*args, **kwargs):
        if not reached.is_set():
            reached.set()
            raise UnavailableError("no etcd")
        return await read(*args, **kwargs)

    store.range = fail_first
    cache = ObjectCache(store, clock)
    async with running(cache):
        await asyncio.wait_for(reached.wait(), 5)
        assert not cache.ready
        await clock.advance(1)
        await cache.wait_ready(5)
    await store.close()
