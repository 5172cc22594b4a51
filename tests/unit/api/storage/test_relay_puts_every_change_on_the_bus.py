import asyncio
import contextlib
import json
import zlib

import pytest

from orch.bus import subjects
from orch.bus.memory import MemoryBroker
from orch.errors import UnavailableError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.memory import MemoryStore
from orch.store.protocol import Write
from orch_api.registry import REGISTRY
from orch_api.storage import relay as relays
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import encode
from orch_api.storage.relay import TOMBSTONE_TTL, Relay
from orch_pb.v1 import object_pb2

CONFIG_MAPS = subjects.object_subject("", "configmaps", "default", "*").replace("%2A", "*")
"""All of them, and not the marker of progress."""


class Process:
    """An api process reduced to its cache and its relay."""

    def __init__(self, store, broker, clock, identity):
        self.cache = ObjectCache(store, clock)
        self.bus = broker.connect("system:apiserver")
        self.relay = Relay(store, self.bus, self.cache, REGISTRY, identity, clock)

    @contextlib.asynccontextmanager
    async def run(self):
        tasks = [asyncio.create_task(self.cache.run()), asyncio.create_task(self.relay.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.bus.close()


@pytest.fixture
async def broker(clock):
    made = MemoryBroker(clock=clock)
    bus = made.connect("orch:admin")
    for spec in subjects.STREAMS:
        await bus.ensure_stream(spec)
    await bus.close()
    return made


@pytest.fixture
async def store(clock):
    made = MemoryStore(clock)
    yield made
    await made.close()


@pytest.fixture
def process(store, broker, clock):
    return Process(store, broker, clock, "one")


@pytest.fixture
def said(broker):
    """Wait until a stream says what is expected of a subject's newest message."""

    async def wait(stream, subject, until):
        bus = broker.connect("orch:admin")
        known = {}
        try:
            async with asyncio.timeout(10), contextlib.aclosing(bus.follow(stream, [subject])) as messages:
                async for message in messages:
                    if hasattr(message, "subject"):
                        event = object_pb2.ObjectEvent.FromString(message.data)
                        if event.type != object_pb2.PROGRESS:
                            known[event.name] = event
                    else:
                        known = {} if message.name == "RESET" else known
                    if until(known):
                        return known
        finally:
            await bus.close()
        raise AssertionError

    return wait


def kept(broker, stream="OBJECTS", pattern=CONFIG_MAPS):
    """Return what a stream holds of objects, oldest first, with each message's sequence."""
    events = [
        (message.sequence, object_pb2.ObjectEvent.FromString(message.data))
        for message in broker.streams[stream].newest((pattern,))
    ]
    return [(sequence, event) for sequence, event in events if event.type != object_pb2.PROGRESS]


def deleted(name):
    return lambda known: name in known and known[name].type == object_pb2.DELETED


async def test_an_event_carries_what_an_informer_needs(process, objects, said):
    async with process.run():
        await process.cache.wait_ready(5)
        version = await objects.put("c", labels={"a": "b"}, uid="u", data={"x": "1"})
        event = (await said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known))["c"]
        assert (event.group, event.version, event.resource) == ("", "v1", "configmaps")
        assert (event.namespace, event.name, event.uid, event.revision) == ("default", "c", "u", version)
        assert dict(event.labels) == {"a": "b"}
        assert event.checksum == zlib.crc32(event.json)
        document = json.loads(event.json)
        assert document["metadata"]["resourceVersion"] == str(version)
        assert document["data"] == {"x": "1"}


async def test_what_was_there_before_is_published_first(process, objects, said):
    for n in range(5):
        await objects.put(f"c{n}")
    async with process.run():
        known = await said("OBJECTS", CONFIG_MAPS, lambda known: len(known) == 5)
        assert all(event.type == object_pb2.ADDED for event in known.values())


async def test_changes_come_in_the_order_of_the_store(process, objects, said, broker):
    async with process.run():
        await process.cache.wait_ready(5)
        versions = [await objects.put(f"c{n % 7}", data={"n": str(n)}) for n in range(50)]
        await said("OBJECTS", CONFIG_MAPS, lambda known: versions[-1] in [event.revision for event in known.values()])
        assert [event.revision for _, event in kept(broker)] == versions[-7:]


async def test_a_deletion_stays_as_a_tombstone_for_an_hour(process, objects, said, broker, clock):
    async with process.run():
        await objects.put("c", data={"x": "1"})
        await said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known)
        version = await objects.remove("c")
        event = (await said("OBJECTS", CONFIG_MAPS, deleted("c")))["c"]
        assert event.revision == version
        assert json.loads(event.json)["data"] == {"x": "1"}
    await clock.advance(TOMBSTONE_TTL + 1)
    assert kept(broker) == []


async def test_what_went_while_no_relay_ran_is_marked_as_gone(store, objects, said, broker, clock):
    async with Process(store, broker, clock, "one").run():
        await objects.put("kept")
        await objects.put("gone", uid="u", data={"x": "1"})
        await objects.put("again", uid="first")
        await said("OBJECTS", CONFIG_MAPS, lambda known: len(known) == 3)
    await objects.remove("gone")
    await objects.remove("again")
    await objects.put("again", uid="second")
    last = await objects.put("changed")
    async with Process(store, broker, clock, "two").run():
        known = await said("OBJECTS", CONFIG_MAPS, lambda known: "changed" in known and deleted("gone")(known))
        assert known["gone"].uid == "u"
        assert known["gone"].revision > last
        assert json.loads(known["gone"].json)["data"] == {"x": "1"}
        assert known["again"].uid == "second"
        assert known["kept"].type == object_pb2.ADDED


async def test_nothing_is_published_again_that_the_stream_has(store, objects, said, broker, clock):
    async with Process(store, broker, clock, "one").run():
        await objects.put("c")
        await said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known)
    before = kept(broker)
    async with Process(store, broker, clock, "two").run():
        await objects.put("d")
        await said("OBJECTS", CONFIG_MAPS, lambda known: "d" in known)
    assert kept(broker)[:-1] == before


async def test_a_stream_that_is_deleted_is_rebuilt(process, objects, said, broker, clock, monkeypatch):
    monkeypatch.setattr(relays, "_PROBE_PERIOD", 0.02)
    async with process.run():
        await objects.put("c")
        await objects.put("p", resource="pods", spec={"nodeName": "n"})
        await said("NODES", subjects.node_pods("n"), lambda known: "p" in known)
        broker.delete_stream("OBJECTS")
        broker.delete_stream("NODES")
        async with asyncio.timeout(10):
            while not {"OBJECTS", "NODES"} <= broker.streams.keys():
                await clock.advance(1)
        await said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known)
        await said("NODES", subjects.node_pods("n"), lambda known: "p" in known)


async def test_a_stream_that_was_emptied_is_filled_again(process, objects, said, broker, clock, monkeypatch):
    monkeypatch.setattr(relays, "_PROBE_PERIOD", 0.02)
    monkeypatch.setattr(relays, "_MARK_PERIOD", 0.01)
    async with process.run():
        version = await objects.put("c")
        await advance_until(clock, said_up_to(broker, version))
        broker.streams["OBJECTS"].purge()
        await advance_until(clock, said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known))


async def advance_until(clock, waiting):
    """Let time pass until `waiting` is over."""
    task = asyncio.create_task(waiting)
    while not task.done():
        await clock.advance(0.5)
    await task


async def said_up_to(broker, version):
    """Wait until the relay has marked, for the last kind too, that it sent everything up to `version`."""
    bus = broker.connect("orch:admin")
    last = REGISTRY.kept()[-1]
    async with (
        asyncio.timeout(10),
        contextlib.aclosing(bus.follow("OBJECTS", [subjects.objects_of(last.group, last.plural)])) as messages,
    ):
        async for message in messages:
            if hasattr(message, "subject"):
                event = object_pb2.ObjectEvent.FromString(message.data)
                if event.type == object_pb2.PROGRESS and event.revision >= version:
                    break
    await bus.close()


async def test_after_the_bus_was_away_nothing_is_missing(process, objects, said, broker, clock):
    async with process.run():
        await objects.put("before")
        await said("OBJECTS", CONFIG_MAPS, lambda known: "before" in known)
        broker.stop()
        await objects.put("meanwhile")
        await objects.remove("before")
        await process.cache.catch_up()
        broker.start()
        await advance_until(
            clock, said("OBJECTS", CONFIG_MAPS, lambda known: "meanwhile" in known and deleted("before")(known))
        )


async def test_a_relay_that_was_replaced_is_refused_and_starts_over(process, objects, said, broker, clock):
    async with process.run():
        await objects.put("a")
        await said("OBJECTS", CONFIG_MAPS, lambda known: "a" in known)
        other = broker.connect("system:apiserver")
        event = object_pb2.ObjectEvent(
            type=object_pb2.ADDED, resource="configmaps", namespace="default", name="b", uid="u", revision=1
        )
        subject = subjects.object_subject("", "configmaps", "default", "b")
        await other.append(subject, event.SerializeToString(), message_id="other")
        version = await objects.put("b")
        await advance_until(
            clock, said("OBJECTS", CONFIG_MAPS, lambda known: "b" in known and known["b"].revision == version)
        )
        await other.close()


async def test_of_two_processes_one_publishes_and_the_other_takes_over(store, objects, said, broker, clock):
    second = Process(store, broker, clock, "two")
    async with Process(store, broker, clock, "one").run():
        await objects.put("a")
        await said("OBJECTS", CONFIG_MAPS, lambda known: "a" in known)
        standby = second.run()
        await standby.__aenter__()
        await objects.put("b")
        await said("OBJECTS", CONFIG_MAPS, lambda known: "b" in known)
    await objects.put("c")
    await advance_until(clock, said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known))
    revisions = [event.revision for _, event in kept(broker)]
    assert revisions == sorted(set(revisions))
    assert len(revisions) == 3
    await standby.__aexit__(None, None, None)


async def test_a_relay_that_falls_behind_compares_again(process, objects, said, monkeypatch):
    monkeypatch.setattr(relays, "_BACKLOG", 2)
    async with process.run():
        await process.cache.wait_ready(5)
        await asyncio.gather(*(objects.put(f"c{n}") for n in range(40)))
        await said("OBJECTS", CONFIG_MAPS, lambda known: len(known) == 40)


async def test_a_pod_is_published_to_its_node_once_it_is_bound(process, objects, said):
    pods = subjects.node_pods("n")
    async with process.run():
        await objects.put("p", resource="pods", spec={})
        version = await objects.put("p", resource="pods", spec={"nodeName": "n"})
        event = (await said("NODES", pods, lambda known: "p" in known))["p"]
        assert event.revision == version
        gone = await objects.remove("p", resource="pods")
        assert (await said("NODES", pods, deleted("p")))["p"].revision == gone


async def test_a_pod_that_moved_while_no_relay_ran_is_gone_from_its_old_node(store, objects, said, broker, clock):
    async with Process(store, broker, clock, "one").run():
        await objects.put("p", resource="pods", uid="first", spec={"nodeName": "old"})
        await said("NODES", subjects.node_pods("old"), lambda known: "p" in known)
    await objects.remove("p", resource="pods")
    await objects.put("p", resource="pods", uid="second", spec={"nodeName": "new"})
    async with Process(store, broker, clock, "two").run():
        assert (await said("NODES", subjects.node_pods("old"), deleted("p")))["p"].uid == "first"
        assert (await said("NODES", subjects.node_pods("new"), lambda known: "p" in known))["p"].uid == "second"


async def test_of_a_secret_only_the_metadata_is_published(process, store, said):
    from_kubectl = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"key":"c2VjcmV0"}}', "mine": "kept"}
    async with process.run():
        await put_secret(store, from_kubectl)
        known = await said("OBJECTS", subjects.objects_of("", "secrets"), lambda known: "s" in known)
        assert b"c2VjcmV0" not in known["s"].SerializeToString()
        document = json.loads(known["s"].json)
        assert document["type"] == "Opaque"
        assert document["metadata"]["annotations"] == {"mine": "kept"}
        assert "data" not in document


async def put_secret(store, annotations):
    document = {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "default", "uid": "u", "annotations": annotations},
        "type": "Opaque",
        "data": {"key": "c2VjcmV0"},
    }
    key = keys.object_key(ObjectKey("", "secrets", "default", "s"))
    await store.write(Write(key, encode(document).value, None))


async def test_a_bus_that_refuses_is_tried_again(process, objects, said, clock):
    failures = iter(range(3))
    ensure = process.bus.ensure_stream

    async def fail(spec):
        if next(failures, None) is not None:
            raise UnavailableError("not yet")
        await ensure(spec)

    process.bus.ensure_stream = fail
    await objects.put("c")
    async with process.run():
        await advance_until(clock, said("OBJECTS", CONFIG_MAPS, lambda known: "c" in known))
