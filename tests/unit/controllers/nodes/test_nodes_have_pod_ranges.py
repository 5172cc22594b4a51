"""Nodes that bring no range of pod addresses are given one that nobody has."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cluster import Cluster

from orch.errors import ConfigError
from orch.objects.scheme import NODES
from orch_controllers.node_ipam.ranges import PodRanges


async def ranges(cluster: Cluster) -> dict[str, str]:
    return {each.metadata.name: each.spec.pod_cidr for each in await cluster.client.list(NODES)}


async def test_each_node_has_its_own(cluster: Cluster) -> None:
    async def all_have_one() -> bool:
        return all((await ranges(cluster)).values())

    await cluster.eventually(all_have_one, 10)
    brought = {"metadata": {"name": "bringer"}, "spec": {"podCIDR": "10.244.2.0/23"}}
    await cluster.client.create(NODES, "", brought)
    await cluster.add_node("node-9")
    await cluster.eventually(all_have_one, 10)
    found = await ranges(cluster)
    assert found == {
        "node-0": "10.244.0.0/24",
        "node-1": "10.244.1.0/24",
        "bringer": "10.244.2.0/23",
        "node-9": "10.244.4.0/24",
    }


async def test_when_there_is_none_the_node_says_so_until_one_is_given_back(cluster: Cluster) -> None:
    cluster.processes[0][1].cancel()
    await cluster.controllers("small", cluster_cidr="10.244.0.0/24", node_cidr_mask_size=25)
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    await cluster.add_node("node-2")

    async def told() -> bool:
        return any(event.message == "Node node-2 status is now: CIDRNotAvailable" for event in await cluster.events())

    await cluster.eventually(told, 10)
    cluster.nodes.remove("node-0")
    await cluster.client.delete(NODES, "", "node-0")

    async def given_one() -> bool:
        return bool((await ranges(cluster))["node-2"])

    await cluster.eventually(given_one, 60)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
def test_no_two_nodes_ever_have_the_same(steps: list[tuple[bool, int]]) -> None:
    free = PodRanges("10.0.0.0/20", 24)
    held = {"bringer": "10.0.2.0/23"}
    free.hold("bringer", "10.0.2.0/23")
    for arrives, number in steps:
        node = f"node-{number}"
        if not arrives:
            held.pop(node, None)
            free.release(node)
        elif node not in held:
            found = free.pick()
            if found:
                held[node] = found
                free.hold(node, found)
            else:
                assert len(held) == 15
        networks = [ip_network(each) for each in held.values()]
        assert not any(a.overlaps(b) for place, a in enumerate(networks) for b in networks[:place])


def test_a_range_that_was_given_back_rests() -> None:
    free = PodRanges("10.0.0.0/22", 24)
    assert free.pick() == "10.0.0.0/24"
    free.hold("a", "10.0.0.0/24")
    free.release("a")
    assert free.pick() == "10.0.1.0/24"


def test_what_two_hold_is_free_when_both_have_given_it_back() -> None:
    free = PodRanges("10.0.0.0/23", 24)
    free.hold("a", "10.0.0.0/23")
    free.hold("b", "10.0.1.0/24")
    assert free.pick() == ""
    free.release("a")
    assert free.pick() == "10.0.0.0/24"
    free.hold("b", "10.0.0.0/24")
    assert free.pick() == "10.0.1.0/24"


@pytest.mark.parametrize("cidr", ["", "junk", "fd00::/64", "192.168.0.0/16"])
def test_ranges_that_are_elsewhere_take_nothing(cidr: str) -> None:
    free = PodRanges("10.0.0.0/24", 24)
    free.hold("a", cidr)
    assert free.pick() == "10.0.0.0/24"


@pytest.mark.parametrize(("cidr", "mask"), [("10.0.0.0/24", 20), ("10.0.0.0/8", 28), ("10.0.0.1/8", 16), ("x", 24)])
def test_settings_that_fit_nothing(cidr: str, mask: int) -> None:
    with pytest.raises(ConfigError):
        PodRanges(cidr, mask)


def test_service_addresses_are_no_pods() -> None:
    assert PodRanges("10.0.0.0/16", 24, "10.0.0.0/20").pick() == "10.0.16.0/24"
