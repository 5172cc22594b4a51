from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import OBJECTS
from orch.errors import UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.informer import Change, Informer, Informers, Item
from orch_pb.v1 import object_pb2

if TYPE_CHECKING:
    from conftest import Relay

TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


class Seen:
    """Notes changes as text: +name@revision, ~name@old>new, -name@revision."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self.last: Change[Any] | None = None

    def __call__(self, change: Change[Any]) -> None:
        self.last = change
        match change:
            case Change(None, Item() as new):
                self.changes.append(f"+{new.name}@{new.revision}")
            case Change(Item() as old, None):
                self.changes.append(f"-{old.name}@{old.revision}")
            case Change(Item() as old, Item() as new):
                self.changes.append(f"~{new.name}@{old.revision}>{new.revision}")
            case _:
                raise AssertionError(change)


def unusable(reason: str) -> float:
    labels = {"resource": "pods", "reason": reason}
    return REGISTRY.get_sample_value("orch_informer_unusable_events_total", labels) or 0


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def informer(bus: Bus, seen: Seen) -> Informer[Pod]:
    informer = Informer(bus, PODS, indexers={"node": lambda item: [item.object.spec.node_name]})
    informer.on_change(seen)
    return informer


async def test_a_snapshot_then_changes(relay: Relay, informer: Informer[Pod], seen: Seen, running, eventually) -> None:
    await relay.put(PODS, "ns", "a", 5, labels={"app": "web"}, trace=TRACE, spec={"nodeName": "n1"})
    await relay.put(PODS, "other", "b", 6)
    await relay.delete(PODS, "ns", "gone", 7)
    await relay.put(NODES, "", "n1", 8)
    assert not informer.synced
    async with running(informer.run()):
        await informer.wait_synced(5)
        assert informer.synced
        assert seen.changes == ["+a@5", "+b@6"]
        item = informer.get("ns", "a")
        assert item is not None
        assert (item.namespace, item.name, item.uid, item.revision) == ("ns", "a", "uid-a", 5)
        assert item.labels == {"app": "web"}
        assert item.object.spec.node_name == "n1"
        assert b'"nodeName":"n1"' in item.json
        assert item.trace is not None
        assert item.trace.traceparent == TRACE
        assert [each.name for each in informer.items()] == ["a", "b"]
        assert [each.name for each in informer.items("other")] == ["b"]
        assert informer.items("none") == []
        assert informer.get("ns", "b") is None

        await relay.put(PODS, "ns", "a", 9, spec={"nodeName": "n2"})
        await relay.put(PODS, "ns", "c", 10, spec={"nodeName": "n2"})
        await relay.delete(PODS, "other", "b", 11, trace=TRACE)
        await eventually(lambda: len(seen.changes) == 5)
        assert seen.changes[2:] == ["~a@5>9", "+c@10", "-b@6"]
        assert seen.last is not None
        assert seen.last.trace is not None
        assert seen.last.trace.traceparent == TRACE
        assert informer.items("other") == []


async def test_indexes_follow_changes(relay: Relay, informer: Informer[Pod], seen: Seen, running, eventually) -> None:
    def on(node: str) -> list[str]:
        return [item.name for item in informer.indexed("node", node)]

    async with running(informer.run()):
        await relay.put(PODS, "ns", "a", 1, spec={"nodeName": "n1"})
        await relay.put(PODS, "ns", "b", 2, spec={"nodeName": "n1"})
        await eventually(lambda: on("n1") == ["a", "b"])
        await relay.put(PODS, "ns", "a", 3, spec={"nodeName": "n2"})
        await eventually(lambda: on("n2") == ["a"])
        assert on("n1") == ["b"]
        await relay.delete(PODS, "ns", "b", 4)
        await eventually(lambda: on("n1") == [])
        informer.add_index("namespace", lambda item: [item.namespace])
        assert [item.name for item in informer.indexed("namespace", "ns")] == ["a"]
        with pytest.raises(ValueError, match="already has an index"):
            informer.add_index("node", lambda item: [])


def take(informer: Informer[Pod], event: Any) -> None:
    informer._take(Message("subject", event.SerializeToString()))


async def test_an_event_that_is_not_newer_is_dropped(relay: Relay, informer: Informer[Pod], seen: Seen) -> None:
    old, new = await relay.put(PODS, "ns", "a", 5), await relay.put(PODS, "ns", "a", 6)
    for event in (new, old, new):
        take(informer, event)
    assert seen.changes == ["+a@6"]
    deletion = await relay.send(PODS, "ns", "a", 6, b"{}", type=3)
    take(informer, deletion)
    assert seen.changes == ["+a@6"]


async def test_an_old_event_does_not_bring_a_deleted_object_back(
    relay: Relay, informer: Informer[Pod], seen: Seen
) -> None:
    event, deletion = await relay.put(PODS, "ns", "a", 5), await relay.send(PODS, "ns", "a", 6, b"{}", type=3)
    for each in (event, deletion, event):
        take(informer, each)
    assert seen.changes == ["+a@5", "-a@5"]
    take(informer, await relay.put(PODS, "ns", "a", 7))
    assert seen.changes[2:] == ["+a@7"]


async def test_an_object_made_again_is_a_deletion_and_an_addition(
    relay: Relay, informer: Informer[Pod], seen: Seen
) -> None:
    take(informer, await relay.put(PODS, "ns", "a", 5, uid="first"))
    take(informer, await relay.put(PODS, "ns", "a", 6, uid="second"))
    assert seen.changes == ["+a@5", "-a@5", "+a@6"]


async def test_what_cannot_be_read_is_counted_and_left_out(
    relay: Relay, informer: Informer[Pod], seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    before = {reason: unusable(reason) for reason in ("envelope", "checksum", "object")}
    take(informer, await relay.put(PODS, "ns", "a", 1))
    take(informer, await relay.send(PODS, "ns", "a", 2, b'{"metadata":{"name":5}}'))
    take(informer, await relay.send(PODS, "ns", "a", 3, b"\xff"))
    take(informer, await relay.send(PODS, "ns", "a", 4, b"{}", checksum=1))
    informer._take(Message("broken", b"\xff\xff"))
    take(informer, await relay.put(PODS, "ns", "a", 5))
    assert seen.changes == ["+a@1", "~a@1>5"]
    assert {reason: unusable(reason) - count for reason, count in before.items()} == {
        "envelope": 1,
        "checksum": 1,
        "object": 2,
    }
    assert "the event on broken is left out" in caplog.text


class ScriptedBus:
    """A bus whose follow yields what the test says."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.follows = 0

    async def follow(self, stream: str, subjects: list[str]) -> Any:
        self.follows += 1
        while True:
            message = await self.messages.get()
            if isinstance(message, Exception):
                raise message
            yield message

    def say(self, *messages: Any) -> None:
        for message in messages:
            as_sent = isinstance(message, object_pb2.ObjectEvent)
            self.messages.put_nowait(Message("s", message.SerializeToString()) if as_sent else message)


async def test_a_new_snapshot_deletes_what_it_does_not_confirm(relay: Relay, seen: Seen, running, eventually) -> None:
    a, b, c = [await relay.put(PODS, "ns", name, revision) for name, revision in (("a", 1), ("b", 2), ("c", 3))]
    newer = await relay.put(PODS, "ns", "c", 9)
    mark = await relay.mark(PODS, 3)
    bus = ScriptedBus()
    informer = Informer(bus, PODS)  # type: ignore[arg-type]
    informer.on_change(seen)
    async with running(informer.run()):
        bus.say(Signal.RESET, a, b, c, mark, Signal.SYNCED, Signal.RESET, a, newer, mark, Signal.SYNCED)
        await eventually(lambda: len(seen.changes) == 5)
    assert seen.changes == ["+a@1", "+b@2", "+c@3", "~c@3>9", "-b@2"]
    assert informer.revision == 9


async def test_a_snapshot_is_complete_when_the_relay_says_so(relay: Relay, seen: Seen, running, eventually) -> None:
    kept, lost = await relay.put(PODS, "ns", "kept", 1), await relay.put(PODS, "ns", "lost", 2)
    mark = await relay.mark(PODS, 2)
    bus = ScriptedBus()
    informer = Informer(bus, PODS)  # type: ignore[arg-type]
    informer.on_change(seen)
    async with running(informer.run()):
        bus.say(Signal.RESET, kept, Signal.SYNCED)
        await eventually(bus.messages.empty)
        assert not informer.synced
        assert informer.revision == 0
        bus.say(lost, mark)
        await informer.wait_synced(5)
        assert informer.revision == 2
        bus.say(Signal.RESET, Signal.SYNCED, kept)
        await eventually(bus.messages.empty)
        assert seen.changes == ["+kept@1", "+lost@2"]
        bus.say(mark)
        await eventually(lambda: len(seen.changes) == 3)
    assert seen.changes[2:] == ["-lost@2"]
    assert informer.get("ns", "kept") is not None


async def test_a_version_can_be_waited_for(relay: Relay, informer: Informer[Pod], running) -> None:
    async with running(informer.run()):
        await informer.wait_synced(5)
        with pytest.raises(UnavailableError, match="pods were not seen up to 7"):
            await informer.wait_seen(7, timeout=0.01)
        await relay.put(PODS, "ns", "a", 6)
        await informer.wait_seen(6, timeout=5)
        await relay.mark(PODS, 8)
        await informer.wait_seen(8, timeout=5)


async def test_a_lost_stream_that_is_rebuilt_in_time_is_not_noticed(
    broker: MemoryBroker, relay: Relay, bus: Bus, seen: Seen, running, eventually
) -> None:
    informer = Informer(bus, PODS)
    informer.on_change(seen)
    await relay.put(PODS, "ns", "a", 1)
    async with running(informer.run()):
        await informer.wait_synced(5)
        broker.delete_stream(OBJECTS.name)
        await relay.start()
        await relay.put(PODS, "ns", "a", 1)
        await relay.put(PODS, "ns", "b", 2)
        await relay.mark(PODS, 2)
        await eventually(lambda: len(seen.changes) == 2)
    assert seen.changes == ["+a@1", "+b@2"]


async def test_following_is_begun_anew_when_the_bus_is_unavailable(
    relay: Relay, seen: Seen, running, eventually
) -> None:
    bus = ScriptedBus()
    informer = Informer(bus, PODS)  # type: ignore[arg-type]
    async with running(informer.run()):
        bus.say(UnavailableError("down"))
        await eventually(lambda: bus.follows == 2)
        bus.say(Signal.RESET, await relay.mark(PODS, 0), Signal.SYNCED)
        await informer.wait_synced(5)


async def test_late_handlers_get_what_is_held_and_can_leave(
    relay: Relay, informer: Informer[Pod], running, eventually
) -> None:
    async with running(informer.run()):
        await relay.put(PODS, "ns", "a", 1)
        await eventually(lambda: informer.get("ns", "a"))
        late = Seen()
        leave = informer.on_change(late)
        assert late.changes == ["+a@1"]
        leave()
        await relay.put(PODS, "ns", "a", 2)
        await eventually(lambda: (item := informer.get("ns", "a")) is not None and item.revision == 2)
        assert late.changes == ["+a@1"]


async def test_a_failing_handler_stops_neither_the_informer_nor_the_others(
    relay: Relay, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(change: Change[Pod]) -> None:
        raise RuntimeError("broken handler")

    def fails_too(item: Item[Pod]) -> list[str]:
        raise RuntimeError("broken index")

    informer, seen = Informer(bus, PODS, indexers={"bad": fails_too}), Seen()
    informer.on_change(fails)
    informer.on_change(seen)
    take(informer, await relay.put(PODS, "ns", "a", 1))
    take(informer, await relay.put(PODS, "ns", "a", 2))
    assert seen.changes == ["+a@1", "~a@1>2"]
    assert "broken handler" in caplog.text
    assert "broken index" in caplog.text


async def test_waiting_for_a_snapshot_has_an_end(bus: Bus) -> None:
    with pytest.raises(UnavailableError, match=r"no snapshot of pods came within 0\.01 s"):
        await Informer(bus, PODS).wait_synced(0.01)


async def test_a_service_shares_one_informer_a_kind(
    relay: Relay, bus: Bus, running, eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    informers = Informers(bus)
    pods = informers.of(PODS)
    assert informers.of(PODS) is pods
    informers.index(PODS, "node", lambda item: [item.object.spec.node_name])
    await relay.put(PODS, "ns", "a", 1, spec={"nodeName": "n1"})
    await relay.put(NODES, "", "n1", 2)
    async with running(informers.run()):
        await informers.wait_synced(5)
        assert [item.name for item in pods.indexed("node", "n1")] == ["a"]
        nodes = informers.of(NODES)
        assert not nodes.synced
        await informers.wait_synced(5)
        assert nodes.get("", "n1") is not None
        assert [item.name for item in nodes.items()] == ["n1"]


async def test_documents_are_kept_of_the_kinds_that_are_asked_for(relay: Relay, bus: Bus, running) -> None:
    informers = Informers(bus, documents={NODES})
    pods, nodes = informers.of(PODS), informers.of(NODES)
    await relay.put(PODS, "ns", "a", 1, spec={"nodeName": "n1"})
    await relay.put(NODES, "", "n1", 2)
    async with running(informers.run()):
        await informers.wait_synced(5)
        pod, node = pods.get("ns", "a"), nodes.get("", "n1")
    assert pod is not None
    assert (pod.json, pod.object.spec.node_name) == (b"", "n1")
    assert node is not None
    assert b'"name":"n1"' in node.json
