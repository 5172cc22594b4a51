"""What is done when many nodes of a zone are lost, and how fast."""

from __future__ import annotations

import pytest
from memory_cluster import Cluster

from orch.objects.scheme import NODES
from orch_controllers.config import ControllersConfig
from orch_controllers.node_lifecycle.zones import Admissions, Count, ZoneState, rate_of, state_of, zone_of

CONFIG = ControllersConfig(secondary_node_eviction_rate=0.01)
ZONE = "topology.kubernetes.io/zone"


@pytest.mark.parametrize(
    ("healthy", "unhealthy", "state"),
    [
        (0, 0, ZoneState.NORMAL),
        (3, 0, ZoneState.NORMAL),
        (1, 1, ZoneState.NORMAL),
        (1, 2, ZoneState.NORMAL),
        (0, 1, ZoneState.FULL),
        (0, 9, ZoneState.FULL),
        (1, 3, ZoneState.PARTIAL),
        (45, 55, ZoneState.PARTIAL),
        (46, 54, ZoneState.NORMAL),
    ],
)
def test_states(healthy: int, unhealthy: int, state: ZoneState) -> None:
    assert state_of(Count(healthy, unhealthy), 0.55) is state


@pytest.mark.parametrize(
    ("state", "size", "rate"),
    [
        (ZoneState.NORMAL, 10, 0.1),
        (ZoneState.FULL, 10, 0.1),
        (ZoneState.PARTIAL, 50, 0.0),
        (ZoneState.PARTIAL, 51, 0.01),
    ],
)
def test_rates(state: ZoneState, size: int, rate: float) -> None:
    assert rate_of(state, size, CONFIG) == rate


def test_by_default_nothing_is_evicted_where_most_are_lost() -> None:
    assert rate_of(ZoneState.PARTIAL, 5000, ControllersConfig()) == 0


def test_nodes_are_emptied_one_after_the_other() -> None:
    admissions = Admissions(burst=2)
    assert [admissions.admit(f"n{each}", "z", 0.1, 100.0) for each in range(3)] == [True, True, False]
    assert admissions.admit("other", "elsewhere", 0.1, 100.0), "each zone has its own"
    assert not admissions.admit("n2", "z", 0.1, 109.0)
    assert admissions.admit("n2", "z", 0.1, 110.5)
    assert admissions.admit("n0", "z", 0.0, 111.0), "what is let in stays so"
    admissions.forget("n0")
    assert not admissions.admit("n0", "z", 0.1, 111.0)


def test_the_zone_is_of_a_region() -> None:
    assert zone_of({ZONE: "a", "topology.kubernetes.io/region": "r"}) == "r/a"
    assert zone_of({}) == "/"


async def evicted(cluster: Cluster) -> set[str]:
    nodes = await cluster.client.list(NODES)
    return {each.metadata.name for each in nodes if any(taint.effect == "NoExecute" for taint in each.spec.taints)}


async def test_a_cut_that_hits_most_nodes_at_once_evicts_nothing(cluster: Cluster) -> None:
    for number in range(2, 7):
        await cluster.add_node(f"node-{number}")
    await cluster.deploy(replicas=7)
    await cluster.eventually(cluster.is_rolled_out)
    before = {pod.metadata.name for pod in cluster.active()}
    await cluster.pass_time(3)
    cluster.silent |= {f"node-{number}" for number in range(5)}
    await cluster.pass_time(20)
    assert await evicted(cluster) == set()
    assert {pod.metadata.name for pod in cluster.active()} == before
    cluster.silent -= {"node-0", "node-1", "node-2"}
    await cluster.pass_time(8)
    assert await evicted(cluster) == {"node-3", "node-4"}, "two that stay away are two that are lost"


async def test_a_zone_that_is_lost_as_a_whole_is_emptied_while_another_stands(cluster: Cluster) -> None:
    for number in range(4):
        await cluster.add_node(f"east-{number}", {ZONE: "east"})
    await cluster.pass_time(3)
    cluster.silent |= {f"east-{number}" for number in range(4)}
    await cluster.pass_time(9)
    assert await evicted(cluster) == {f"east-{number}" for number in range(4)}


async def test_beyond_the_first_ones_nodes_are_emptied_at_a_rate(cluster: Cluster) -> None:
    cluster.processes[0][1].cancel()
    await cluster.controllers("slow", node_eviction_burst=1)
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    for number in range(4):
        await cluster.add_node(f"east-{number}", {ZONE: "east"})
    await cluster.pass_time(3)
    cluster.silent |= {f"east-{number}" for number in range(4)}
    await cluster.pass_time(8)
    assert len(await evicted(cluster)) == 1
    await cluster.pass_time(10)
    assert len(await evicted(cluster)) == 2
