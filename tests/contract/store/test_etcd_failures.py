"""What the store on etcd does when etcd is slow, dies, comes back or is one of several."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from orch.errors import ConfigError, StoreError, UnavailableError
from orch.store import keys
from orch.store.etcd import EtcdStore
from orch.store.protocol import Event, Write, Written

pytestmark = pytest.mark.etcd

StartEtcd = Callable[..., Any]


async def _until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of several conditions, none an event
            await asyncio.sleep(0.005)  # between looks at the condition


class _Load:
    """Writers that go on through failures, and a watch of all they do."""

    def __init__(self, store: EtcdStore) -> None:
        self.store = store
        self.confirmed: dict[tuple[int, int], bytes] = {}
        self.unknown = 0
        self.events: list[Event] = []
        self.stopped = False

    async def write(self, writer: int) -> None:
        number = 0
        while not self.stopped:
            key = b"/orch/objects/core/pods/load/%d-%d" % (writer, number)
            number += 1
            try:
                written = await self.store.write(Write(key, b"x", 0))
            except UnavailableError:
                self.unknown += 1
            else:
                assert written.succeeded
                self.confirmed[written.revision, written.index] = key

    async def watch(self) -> None:
        async for batch in self.store.watch(*keys.EVERYTHING, revision=1):
            self.events += batch.events

    async def finish(self) -> None:
        """Stop writing, and wait until the watch has shown all."""
        self.stopped = True
        revision = await self.store.revision()
        await _until(lambda: bool(self.events) and self.events[-1].revision >= revision)


async def test_nothing_is_lost_or_doubled_when_etcd_is_killed_under_load(start_etcd: StartEtcd) -> None:
    server = start_etcd()
    store = await EtcdStore.connect(endpoints=[server.url])
    load = _Load(store)
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(load.watch())
        writers = [tasks.create_task(load.write(writer)) for writer in range(40)]
        for _ in range(3):
            confirmed = len(load.confirmed)
            await _until(lambda confirmed=confirmed: len(load.confirmed) > confirmed + 2000)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        confirmed = len(load.confirmed)
        await _until(lambda: len(load.confirmed) > confirmed + 500)
        load.stopped = True
        await asyncio.wait(writers)
        await load.finish()
        watch.cancel()

    seen = {(event.revision, event.index): event.key for event in load.events}
    assert len(seen) == len(load.events)
    assert list(seen) == sorted(seen)
    assert load.confirmed.items() <= seen.items()
    stored = await store.range(*keys.EVERYTHING)
    assert {item.key for item in stored.items} == set(seen.values())
    assert len(seen) - len(load.confirmed) <= load.unknown
    await store.close()


async def write_again(store: EtcdStore, write: Write) -> Written:
    """Write again where the store cannot know what became of a write: it was sent before the end was noticed."""
    while True:
        with contextlib.suppress(UnavailableError):
            return await store.write(write)


async def test_reads_outlast_a_restart(start_etcd: StartEtcd) -> None:
    server = start_etcd()
    store = await EtcdStore.connect(endpoints=[server.url], request_timeout=20)
    await store.write(Write(b"/a", b"x", 0))
    await asyncio.to_thread(server.kill)
    reading = asyncio.create_task(store.get(b"/a"))
    asking = asyncio.create_task(store.revision())
    writing = asyncio.create_task(write_again(store, Write(b"/b", b"x", 0)))
    await asyncio.to_thread(server.start)
    assert await reading is not None
    assert await asking >= 2
    assert (await writing).succeeded
    await store.close()


async def test_a_hanging_server_fails_calls_in_time(start_etcd: StartEtcd) -> None:
    server = start_etcd()
    store = await EtcdStore.connect(endpoints=[server.url], request_timeout=0.5)
    server.pause()
    started = time.monotonic()
    calls = [
        store.get(b"/a"),
        store.revision(),
        store.write(Write(b"/a", b"x", 0)),
        store.lease_grant(5),
        store.lease_refresh(1),
        anext(store.watch(*keys.EVERYTHING, revision=1)),
        anext(store.snapshot()),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * len(calls)
    assert time.monotonic() - started < 5
    await store.close()


async def test_no_server_at_all_is_said_within_the_dial_timeout(start_etcd: StartEtcd) -> None:
    server = start_etcd()
    await asyncio.to_thread(server.kill)
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=server.url):
        await EtcdStore.connect(endpoints=[server.url], dial_timeout=0.3)
    assert time.monotonic() - started < 3


async def test_turns_to_the_endpoint_that_answers(start_etcd: StartEtcd) -> None:
    dead, alive = start_etcd(), start_etcd()
    await asyncio.to_thread(dead.kill)
    store = await EtcdStore.connect(endpoints=[dead.url, alive.url, dead.url])
    assert (await store.write(Write(b"/a", b"x", 0))).succeeded
    assert await store.get(b"/a") is not None
    await store.close()


async def test_leaves_an_endpoint_that_hangs(start_etcd: StartEtcd) -> None:
    # Two servers that know nothing of one another: what counts is who answers.
    hanging, alive = start_etcd(), start_etcd()
    store = await EtcdStore.connect(endpoints=[hanging.url, alive.url], request_timeout=2)
    other = await EtcdStore.connect(endpoints=[alive.url])
    await other.write(Write(b"/only-here", b"x", 0))
    await store.get(b"/only-here")
    hanging.pause()
    assert await store.get(b"/only-here") is not None
    await store.close()
    await other.close()


async def test_a_watch_moves_to_another_endpoint(start_etcd: StartEtcd) -> None:
    first, second = start_etcd(), start_etcd()
    store = await EtcdStore.connect(endpoints=[first.url, second.url])
    other = await EtcdStore.connect(endpoints=[second.url])
    async with asyncio.timeout(20), contextlib.aclosing(store.watch(*keys.EVERYTHING, revision=1)) as watch:
        await anext(watch)
        await asyncio.to_thread(first.kill)
        await other.write(Write(b"/only-there", b"x", 0))
        async for batch in watch:
            if batch.events:
                assert batch.events[0].key == b"/only-there"
                break
    await store.close()
    await other.close()


async def test_a_value_beyond_etcds_limit_is_refused_alone(start_etcd: StartEtcd) -> None:
    store = await EtcdStore.connect(endpoints=[start_etcd().url])
    results = await asyncio.gather(
        store.write(Write(b"/a", b"x", 0)),
        store.write(Write(b"/large", b"x" * 1_700_000, 0)),
        store.write(Write(b"/huge", b"x" * 5_000_000, 0)),
        store.write(Write(b"/b", b"x", 0)),
        return_exceptions=True,
    )
    for refused, name in ((results[1], "/large"), (results[2], "/huge")):
        assert isinstance(refused, StoreError)
        assert name in str(refused)
        assert "larg" in str(refused)
    assert [item.key for item in (await store.range(*keys.EVERYTHING)).items] == [b"/a", b"/b"]
    await store.close()


async def test_reads_more_than_one_page(start_etcd: StartEtcd) -> None:
    store = await EtcdStore.connect(endpoints=[start_etcd().url])
    await store.write_all([Write(b"/%05d" % i, b"x", 0) for i in range(11_000)])
    found = await store.range(*keys.EVERYTHING)
    assert [item.key for item in found.items] == [b"/%05d" % i for i in range(11_000)]
    assert not found.more
    limited = await store.range(*keys.EVERYTHING, limit=7_000)
    assert len(limited.items) == 7_000
    assert limited.more
    await store.close()


async def test_closing_fails_what_is_pending(start_etcd: StartEtcd) -> None:
    server = start_etcd()
    store = await EtcdStore.connect(endpoints=[server.url])
    server.pause()
    calls = [
        asyncio.create_task(call)
        for call in (store.get(b"/a"), store.revision(), store.write(Write(b"/a", b"x", 0)), store.lease_refresh(1))
    ]
    watch = store.watch(*keys.EVERYTHING, revision=1)
    calls.append(asyncio.create_task(_first(watch)))
    await asyncio.wait(calls, timeout=0.2)
    async with asyncio.timeout(3):
        await store.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * len(calls)


async def _first(watch: Any) -> None:
    await anext(watch)


@pytest.mark.parametrize("endpoints", [[], ["127.0.0.1:2379"], ["ftp://127.0.0.1:1"], ["http://127.0.0.1:1/path"]])
async def test_a_bad_endpoint_is_a_configuration_error(endpoints: list[str]) -> None:
    with pytest.raises(ConfigError, match="endpoints"):
        await EtcdStore.connect(endpoints=endpoints)
