"""The evictor between figures, pods and a disk that the tests play."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from agent_cluster import cancelled

from orch.clock import ManualClock
from orch.errors import UnavailableError
from orch.objects.pods import Pod
from orch_agent.eviction.evictor import Evictor
from orch_agent.eviction.thresholds import EvictionSettings
from orch_agent.eviction.verdict import Eviction
from orch_agent.stats.model import ContainerStats, DiskUse, FileSystem, MemoryUse, NodeStats, PodStats

MI = 1 << 20
GI = 1 << 30


class World:
    """A node with 1 GiB of memory and of disk."""

    def __init__(self, node: Any, settings: EvictionSettings) -> None:
        self.node = node
        self.clock = ManualClock()
        self.pods: dict[str, Pod] = {}
        self.memory: dict[str, int] = {}
        self.disk: dict[str, int] = {}
        self.rubbish = 0
        self.unreachable = False
        self.evicted: list[tuple[str, Eviction]] = []
        self.events: list[tuple[str, str]] = []
        self.reclaims: list[str] = []
        self.evictor = Evictor("node-1", settings, self, self, self, self, self.clock)  # type: ignore[arg-type] - plays all parts

    def add(self, uid: str, *, memory: int = 0, disk: int = 0, request: str = "", **spec: Any) -> None:
        resources = {"requests": {"memory": request}} if request else {}
        self.pods[uid] = self.node.pod({"name": "web", "resources": resources}, uid=uid, **spec)
        self.memory[uid], self.disk[uid] = memory * MI, disk * MI

    # the meter

    async def stats(self, *, fresh: bool = False) -> NodeStats:
        del fresh
        if self.unreachable:
            raise UnavailableError("the runtime does not answer")
        left = GI - sum(self.memory.values())
        disk = FileSystem(GI, GI - sum(self.disk.values()) - self.rubbish)
        pods = {
            uid: PodStats(
                namespace="default",
                name="web-1",
                uid=uid,
                containers=(ContainerStats(name="web", layer=DiskUse(self.disk[uid], 1)),),
                memory=MemoryUse(working_set=self.memory[uid]),
            )
            for uid in self.pods
        }
        return NodeStats(time=0, memory_capacity=GI, memory_available=left, node_fs=disk, image_fs=disk, pods=pods)

    def forget_disks(self) -> None:
        """Nothing is remembered."""

    # the pods

    def active(self) -> Sequence[Pod]:
        return list(self.pods.values())

    def evict(self, pod: Pod, eviction: Eviction) -> bool:
        if pod.metadata.deletion_timestamp:
            return False
        self.evicted.append((pod.metadata.uid, eviction))
        return True

    def end(self, uid: str) -> None:
        del self.pods[uid], self.memory[uid], self.disk[uid]

    # the disk

    async def delete_dead_containers(self) -> None:
        self.reclaims.append("containers")

    async def delete_unused_images(self) -> None:
        self.reclaims.append("images")
        self.rubbish = 0

    def node_event(self, node: str, kind: str, reason: str, message: str) -> None:
        assert (node, kind) == ("node-1", "Normal" if "status is now" in message else "Warning")
        self.events.append((reason, message))

    @property
    def victims(self) -> list[str]:
        return [uid for uid, _ in self.evicted]


@pytest.fixture
def world(node: Any) -> World:
    return World(node, EvictionSettings())


async def test_enough_is_left(world: World) -> None:
    world.add("a", memory=500, disk=500)
    assert await world.evictor.look() == []
    assert (world.evicted, world.events, world.evictor.conditions) == ([], [], frozenset())


async def test_one_pod_goes_and_it_is_told(world: World) -> None:
    world.add("a", memory=500)
    world.add("b", memory=450)
    await world.evictor.look()
    assert world.victims == ["a"]
    _, eviction = world.evicted[0]
    assert eviction.grace == 1
    assert eviction.message.startswith(
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 74Mi."
    )
    assert world.evictor.conditions == {"MemoryPressure"}
    assert world.events == [
        ("NodeHasInsufficientMemory", "Node node-1 status is now: NodeHasInsufficientMemory"),
        ("EvictionThresholdMet", "Attempting to reclaim memory"),
    ]
    world.end("a")
    await world.evictor.look()
    await world.clock.advance(300)
    await world.evictor.look()
    assert world.events[2:] == [("NodeHasSufficientMemory", "Node node-1 status is now: NodeHasSufficientMemory")]
    assert world.evictor.conditions == frozenset()


async def test_the_next_goes_only_when_the_first_is_gone_and_that_was_not_enough(world: World) -> None:
    for uid in "abc":
        world.add(uid, memory=330)
    async with cancelled(world.evictor.run()):
        await settle(world, lambda: world.evicted)
        await world.clock.advance(20)
        assert len(world.victims) == 1
        world.end(world.victims[0])
        await world.clock.advance(30)
        assert len(world.victims) == 1
        assert len(world.pods) == 2


async def test_an_end_that_takes_too_long_is_not_waited_for_for_ever(world: World) -> None:
    world.add("a", memory=900)
    world.add("b", memory=100)
    async with cancelled(world.evictor.run()):
        await settle(world, lambda: world.evicted)
        for _ in range(40):
            await world.clock.advance(1)
        assert len(world.victims) >= 2


async def test_critical_and_static_pods_are_spared(world: World, node: Any) -> None:
    world.add("system", memory=900, priority=2_000_000_000)
    world.add("small", memory=60)
    static = {"annotations": {"kubernetes.io/config.source": "file"}}
    world.pods["static"] = node.pod(uid="static", meta=static)
    world.memory["static"], world.disk["static"] = 60 * MI, 0
    await world.evictor.look()
    assert world.victims == ["small"]
    world.end("small")
    world.memory["static"] = 120 * MI
    await world.evictor.look()
    assert world.victims == ["small"]


async def test_a_pod_that_is_ending_already_is_passed_over(world: World) -> None:
    world.add("a", memory=600)
    world.add("b", memory=400)
    meta = msgspec.structs.replace(world.pods["a"].metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    world.pods["a"] = msgspec.structs.replace(world.pods["a"], metadata=meta)
    await world.evictor.look()
    assert world.victims == ["b"]


async def test_what_nobody_needs_goes_before_pods(world: World) -> None:
    world.add("a", disk=700)
    world.rubbish = 300 * MI
    assert await world.evictor.look() == []
    assert (world.reclaims, world.victims) == (["containers", "images"], [])
    assert world.evictor.conditions == {"DiskPressure"}
    world.disk["a"] = 950 * MI
    await world.evictor.look()
    assert world.victims == ["a"]


async def test_a_soft_threshold_leaves_pods_their_time_up_to_a_bound(node: Any) -> None:
    settings = EvictionSettings(
        hard=(),
        soft=("memory.available<500Mi",),
        soft_grace_period=("memory.available=30s",),
        max_pod_grace_period=20,
    )
    for own, given in ((5, 5), (60, 20)):
        world = World(node, settings)
        world.add("a", memory=900, terminationGracePeriodSeconds=own)
        await world.evictor.look()
        assert world.evicted == []
        await world.clock.advance(30)
        await world.evictor.look()
        assert world.evicted[0][1].grace == given


async def test_pods_beyond_their_limits_all_go_and_nothing_else_does(world: World, node: Any) -> None:
    limited = {"name": "web", "resources": {"limits": {"ephemeral-storage": "10Mi"}}}
    for uid in "ab":
        world.pods[uid] = node.pod(limited, uid=uid)
        world.memory[uid], world.disk[uid] = 490 * MI, 20 * MI
    world.add("c", memory=40)
    await world.evictor.look()
    assert sorted(world.victims) == ["a", "b"]
    assert {eviction.message for _, eviction in world.evicted} == {
        "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "
    }


async def test_new_pods_are_refused_under_pressure(world: World, node: Any) -> None:
    best_effort, burstable = node.pod(), node.pod({"name": "a", "resources": {"requests": {"cpu": "1"}}})
    tolerant = node.pod(tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}])
    critical = node.pod(priority=2_000_001_000)
    assert world.evictor.refuses(best_effort) is None
    world.add("a", memory=1000)
    await world.evictor.look()
    refusal = world.evictor.refuses(best_effort)
    assert refusal is not None
    assert (refusal.reason, refusal.message) == ("Evicted", "The node had condition: [MemoryPressure]. ")
    assert [world.evictor.refuses(each) for each in (burstable, tolerant, critical)] == [None, None, None]
    world.disk["a"] = 1000 * MI
    await world.evictor.look()
    refusal = world.evictor.refuses(burstable)
    assert refusal is not None
    assert refusal.message == "The node had condition: [DiskPressure MemoryPressure]. "
    assert world.evictor.refuses(critical) is None


async def test_a_runtime_that_does_not_answer_is_asked_again(world: World) -> None:
    world.add("a", memory=1000)
    world.unreachable = True
    async with cancelled(world.evictor.run()):
        await world.clock.advance(5)
        world.unreachable = False
        await world.clock.advance(5)
        await settle(world, lambda: world.evicted)


async def test_a_pod_that_cannot_be_read_does_not_end_the_evictor(world: World) -> None:
    world.add("a", memory=1000, request="much")
    async with cancelled(world.evictor.run()):
        await world.clock.advance(5)
        del world.pods["a"]
        world.add("b", memory=0)
        await world.clock.advance(20)
        await settle(world, lambda: world.victims == ["b"])


async def settle(world: World, condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await world.clock.advance(0)
