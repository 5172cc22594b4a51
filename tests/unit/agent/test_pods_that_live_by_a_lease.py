"""A node that may have been given up stops the pods that must not run twice, and only those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from agent_cluster import Cluster, agent, until

from orch.bus import subjects
from orch.bus.permissions import CONTROLLERS
from orch.clock import ManualClock
from orch.objects.fencing import ANNOTATION
from orch_agent.lease import NodeLease
from orch_agent.runtimes.protocol import State
from orch_pb.v1 import node_pb2

LEASED = {"annotations": {ANNOTATION: "true"}}


@pytest.fixture
async def lease(node: Any) -> AsyncGenerator[NodeLease]:
    """Return the node's lease, 30 seconds long and just renewed."""
    made = NodeLease(node.clock, 30)
    made.renewed(node.clock.monotonic())
    node.host._lease = made

    def recheck() -> None:
        for worker in node.workers.values():
            worker.recheck()

    watching = asyncio.create_task(made.watch(recheck))
    yield made
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def running(node: Any) -> int:
    return sum(info.state is State.RUNNING for info in await node.runtime.containers())


async def test_it_is_stopped_when_the_lease_is_over_and_goes_on_when_it_is_renewed(node: Any, lease: NodeLease) -> None:
    async with node.running(node.pod(meta=LEASED)):
        await node.clock.advance(29)
        assert await running(node) == 1
        await node.clock.advance(2)
        assert await running(node) == 0
        assert ("Fenced", "The node's lease is over: the pod may have been given to another node") in node.told.events
        await node.clock.advance(100)
        assert await running(node) == 0
        lease.renewed(node.clock.monotonic())
        await node.clock.advance(20)
        assert await running(node) == 1
        assert node.told.container("web")["restartCount"] == 1


@pytest.mark.usefixtures("lease")
async def test_other_pods_go_on(node: Any) -> None:
    async with node.running(node.pod()):
        await node.clock.advance(300)
        assert await running(node) == 1


@pytest.mark.usefixtures("lease")
async def test_who_will_not_end_is_killed_at_once(node: Any) -> None:
    stubborn = {"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=600)}
    async with node.running(node.pod(stubborn, meta=LEASED, terminationGracePeriodSeconds=300)):
        await node.clock.advance(31)
        assert await running(node) == 0


@pytest.mark.usefixtures("lease")
async def test_one_that_is_ending_is_not_waited_for(node: Any) -> None:
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=600)}, meta=LEASED)
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod, grace=500), None)
        await node.clock.advance(25)
        assert await running(node) == 1
        await node.clock.advance(7)
        assert await running(node) == 0


@pytest.mark.usefixtures("lease")
async def test_a_start_that_is_under_way_is_given_up(node: Any) -> None:
    node.runtime._pull_seconds = 40
    async with node.running(node.pod(meta=LEASED)):
        await node.clock.advance(120)
        assert await running(node) == 0


def test_a_lease_is_counted_from_before_the_heartbeat(node: Any) -> None:
    lease = NodeLease(node.clock, 30)
    assert lease.over, "nothing is known yet"
    lease.renewed(-10)
    assert not lease.over
    assert not NodeLease(node.clock, 0).over, "without a promise there is nothing to keep"


async def test_a_successor_knows_how_long_it_has(tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "lease"
    await clock.advance(100)
    NodeLease(clock, 30, file).renewed(clock.monotonic())
    await clock.advance(20)
    later = NodeLease(clock, 30, file)
    assert not later.over
    await clock.advance(11)
    assert later.over
    boot, until_ = file.read_text().split()
    file.write_text(f"another-boot {until_}")
    assert NodeLease(ManualClock(), 30, file).over
    file.write_text(f"{boot} soon")
    assert NodeLease(ManualClock(), 30, file).over


async def test_heartbeats_promise_the_lease_and_renew_it(cluster: Cluster) -> None:
    controllers = cluster.broker.connect(CONTROLLERS)
    async with agent(cluster) as places, controllers.subscribe(subjects.HEARTBEATS_OF_ALL) as beats:
        promised = {}
        while len(promised) < len(places):
            beat = node_pb2.Heartbeat.FromString((await anext(beats)).data)
            promised[beat.node] = beat.lease_seconds
        assert set(promised.values()) == {30.0}
        await until(lambda: len(cluster.nodes) == len(places))
