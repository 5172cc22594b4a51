"""A node whose connection has ended is suspected until it is heard; who may say so, and what it costs to know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lagging_world import Process, World
from memory_cluster import Cluster

from orch.bus.memory import MemoryBroker
from orch.bus.node_users import ANNOTATION
from orch.bus.protocol import Message
from orch.bus.subjects import DISCONNECTS, HEARTBEATS, heartbeat_subject
from orch.clock import ManualClock
from orch.errors import BusError
from orch.objects.scheme import NODES
from orch_controllers.disconnections import Disconnections
from orch_controllers.heartbeats import Heartbeats

NODE = "system:node:one"


class Witness:
    """A connection of the witness, on which so much is told."""

    def __init__(self, *told: bytes) -> None:
        self.told = told
        self.closed = False

    @asynccontextmanager
    async def subscribe(self, subject: str) -> AsyncIterator[Any]:
        assert subject == DISCONNECTS

        async def messages() -> AsyncIterator[Message]:
            for data in self.told:
                yield Message(subject, data)

        yield messages()

    async def close(self) -> None:
        self.closed = True


def ended(name: str, key: str = "") -> bytes:
    return json.dumps({"type": "io.nats...", "client": {"name": name, "user": key, "id": 7}, "reason": "x"}).encode()


@pytest.fixture
async def heartbeats(clock: ManualClock) -> AsyncIterator[Heartbeats]:
    """Return who has heard one node, and expects another."""
    broker = MemoryBroker(clock=clock)
    node = broker.connect(NODE)
    await node.ensure_stream(HEARTBEATS)
    heartbeats = Heartbeats(broker.connect("system:kube-controller-manager"), clock, 5.0)
    for name in ("one", "two"):
        heartbeats.expect(name)
    task = asyncio.create_task(heartbeats.run())
    await clock.advance(1)
    for _ in range(4):
        await node.publish(heartbeat_subject("one"), b"")
        await clock.advance(1)
    yield heartbeats
    task.cancel()
    await asyncio.wait((task,))


async def listen(heartbeats: Heartbeats, clock: ManualClock, *told: bytes, key: str = "") -> None:
    world = World()
    annotations = {ANNOTATION: key} if key else {}
    world.create(NODES, "", {"metadata": {"name": "one", "annotations": annotations}, "spec": {}})
    witness = Witness(*told)

    async def connect() -> Any:
        return witness

    disconnections = Disconnections(connect, Process(world, [NODES]).informers, heartbeats, clock)
    task = asyncio.create_task(disconnections.run())
    async with asyncio.timeout(10):
        while not witness.closed:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))


@pytest.mark.parametrize(
    ("told", "key", "suspected"),
    [
        (ended(NODE), "", {"one"}),
        (ended(NODE, "UKEY"), "UKEY", {"one"}),
        (ended(NODE, "UOTHER"), "UKEY", set()),
        (ended("system:node:gone"), "", set()),
        (ended("system:kube-scheduler"), "", set()),
        (b"not json", "", set()),
        (b'{"client": 5}', "", set()),
        (b"{}", "", set()),
    ],
)
async def test_who_is_suspected(
    heartbeats: Heartbeats, clock: ManualClock, told: bytes, key: str, suspected: set[str]
) -> None:
    await listen(heartbeats, clock, told, key=key)
    assert heartbeats.hung_up == suspected


async def test_without_a_witness_it_is_tried_again_ever_less_often(heartbeats: Heartbeats, clock: ManualClock) -> None:
    tries: list[float] = []

    async def refused() -> Any:
        tries.append(clock.monotonic())
        raise BusError("no such user")

    disconnections = Disconnections(refused, Process(World(), [NODES]).informers, heartbeats, clock)
    task = asyncio.create_task(disconnections.run())
    await clock.advance(600)
    assert 10 < len(tries) < 20
    assert tries[-1] - tries[-2] == pytest.approx(60)
    task.cancel()
    await asyncio.wait((task,))
    await Disconnections(None, Process(World(), [NODES]).informers, heartbeats, clock).run()


async def test_the_silent_are_found_without_the_others(heartbeats: Heartbeats, clock: ManualClock) -> None:
    assert heartbeats.silent_for(3) == ["two"]
    for _ in range(4):
        await clock.advance(1)
    assert sorted(heartbeats.silent_for(3)) == ["one", "two"]
    assert heartbeats.silent_for(30) == [], "it has not listened for so long"
    heartbeats.forget("two")
    assert heartbeats.silent_for(3) == ["one"]


async def test_a_node_that_comes_has_its_time_to_be_heard(heartbeats: Heartbeats, clock: ManualClock) -> None:
    heartbeats.forget("one")
    heartbeats.expect("one")
    assert (heartbeats.silence("one"), heartbeats.silent_for(3)) == (0, ["two"])
    for _ in range(4):
        await clock.advance(1)
    assert heartbeats.silence("one") == 4
    assert heartbeats.silent_for(3) == ["two", "one"]


async def test_people_are_told_at_once_and_nothing_else_happens(cluster: Cluster) -> None:
    process, _ = cluster.processes[0]
    await cluster.pass_time(3)
    begun = cluster.clock.monotonic()
    process._heartbeats.hang_up("node-0")
    (told,) = [each for each in await cluster.told("NodeSuspected") if each.reason == "NodeSuspected"]
    assert told.message == "Node node-0 has lost its connection and is suspected to be lost"
    assert cluster.clock.monotonic() - begun < 1
    await cluster.pass_time(3)
    node = await cluster.client.get(NODES, "", "node-0")
    assert not node.spec.taints
