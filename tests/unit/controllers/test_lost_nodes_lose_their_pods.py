from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Cluster, is_ready

from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS

UNREACHABLE = "node.kubernetes.io/unreachable"


async def taints(cluster: Cluster, name: str) -> set[tuple[str, str]]:
    node = await cluster.client.get(NODES, "", name)
    return {(taint.key, taint.effect) for taint in node.spec.taints}


async def ready_status(cluster: Cluster, name: str) -> str:
    return condition(await cluster.client.get(NODES, "", name), "Ready")


def condition(node: Node, kind: str) -> str:
    found = node.status.condition(kind)
    return found.status if found is not None else ""


def bare_pod(name: str, node: str, tolerations: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"nodeName": node, "containers": [{"name": "main", "image": "nginx:1"}]}
    if tolerations:
        spec["tolerations"] = tolerations
    return {"metadata": {"name": name}, "spec": spec}


def pod(cluster: Cluster, name: str) -> Pod | None:
    item = cluster.pods.get("default", name)
    return item.object if item is not None else None


async def test_the_pods_of_a_silent_node_are_replaced_within_ten_seconds(cluster: Cluster) -> None:
    await cluster.deploy(replicas=4)
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.pass_time(3)
    silent_since = cluster.clock.now()
    cluster.silent.add("node-0")
    await cluster.eventually(lambda: {each.spec.node_name for each in cluster.ready()} == {"node-1"}, 20)
    await cluster.eventually(lambda: len(cluster.ready()) == 4, 20)
    passed = (cluster.clock.now() - silent_since).total_seconds()
    assert 7 <= passed <= 10.5
    assert await taints(cluster, "node-0") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
    node = await cluster.client.get(NODES, "", "node-0")
    ready = node.status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("Unknown", "NodeStatusUnknown")
    assert ready.message == "Kubelet stopped posting node status."
    assert condition(node, "MemoryPressure") == "Unknown"
    gone = [item.object for item in cluster.pods.items("default") if item.object.spec.node_name == "node-0"]
    assert gone, "they stay until their node says that they are gone"
    assert all(each.metadata.deletion_timestamp for each in gone)
    assert all(each.status.condition("DisruptionTarget") for each in gone)


async def test_a_node_that_is_heard_again_is_as_it_was(cluster: Cluster) -> None:
    tolerant = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]
    await cluster.client.create(PODS, "default", bare_pod("patient", "node-0", tolerant))
    await cluster.eventually(lambda: (found := pod(cluster, "patient")) and is_ready(found))
    cluster.silent.add("node-0")
    await cluster.eventually(lambda: not is_ready(pod(cluster, "patient")), 20)  # type: ignore[arg-type]
    assert await ready_status(cluster, "node-0") == "Unknown"
    await cluster.pass_time(2)

    cluster.silent.clear()
    await cluster.eventually(lambda: is_ready(pod(cluster, "patient")), 20)  # type: ignore[arg-type]
    node = await cluster.client.get(NODES, "", "node-0")
    ready, pressure = node.status.condition("Ready"), node.status.condition("MemoryPressure")
    assert ready is not None
    assert pressure is not None
    assert (ready.status, ready.reason, ready.message) == ("True", "KubeletReady", "posting")
    assert (pressure.status, pressure.reason) == ("False", "KubeletHasSufficientMemory")
    await cluster.pass_time(1)
    assert await taints(cluster, "node-0") == set()
    assert not node.metadata.annotations


async def test_pods_stay_for_as_long_as_they_tolerate_it(cluster: Cluster) -> None:
    forever = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]
    while_ = [{**forever[0], "tolerationSeconds": 20}]
    await cluster.client.create(PODS, "default", bare_pod("forever", "node-0", forever))
    await cluster.client.create(PODS, "default", bare_pod("a-while", "node-0", while_))
    await cluster.client.create(PODS, "default", bare_pod("default", "node-0"))
    await cluster.eventually(lambda: len(cluster.ready()) == 3)
    cluster.silent.add("node-0")
    await cluster.eventually(lambda: names(cluster) == {"forever", "a-while"}, 20)
    at = cluster.clock.monotonic()
    await cluster.eventually(lambda: names(cluster) == {"forever"}, 40)
    assert 15 <= cluster.clock.monotonic() - at <= 19
    await cluster.pass_time(5)
    assert names(cluster) == {"forever"}


async def test_taints_that_people_set_count_from_when_they_were_seen(cluster: Cluster) -> None:
    tolerant = [{"key": "maintenance", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}]
    await cluster.client.create(PODS, "default", bare_pod("prepared", "node-0", tolerant))
    await cluster.client.create(PODS, "default", bare_pod("surprised", "node-0"))
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    taint = {"key": "maintenance", "effect": "NoExecute"}
    await cluster.client.patch(NODES, "", "node-0", {"spec": {"taints": [taint]}})
    await cluster.eventually(lambda: names(cluster) == {"prepared"}, 5)
    await cluster.pass_time(7)
    assert names(cluster) == {"prepared"}
    await cluster.eventually(lambda: names(cluster) == set(), 5)
    assert await taints(cluster, "node-0") == {("maintenance", "NoExecute")}


async def test_when_all_nodes_fall_silent_nothing_is_evicted(cluster: Cluster) -> None:
    await cluster.deploy(replicas=4)
    await cluster.eventually(cluster.is_rolled_out)
    before = {each.metadata.name for each in cluster.active()}
    cluster.silent.add("node-0")
    await cluster.pass_time(0.7)  # not in the same moment
    cluster.silent.add("node-1")
    await cluster.pass_time(25)
    assert {each.metadata.name for each in cluster.active()} == before
    for name in cluster.nodes:
        assert await ready_status(cluster, name) == "Unknown"
        assert await taints(cluster, name) == {(UNREACHABLE, "NoSchedule")}

    cluster.silent.discard("node-1")
    await cluster.pass_time(4)
    assert {each.metadata.name for each in cluster.active()} == before, "the other one is given time, too"
    await cluster.eventually(lambda: {each.spec.node_name for each in cluster.ready()} == {"node-1"}, 20)
    await cluster.eventually(lambda: len(cluster.ready()) == 4, 20)


async def test_nobody_is_judged_for_the_silence_of_the_bus(cluster: Cluster) -> None:
    await cluster.deploy(replicas=4)
    await cluster.eventually(cluster.is_rolled_out)
    before = {each.metadata.name for each in cluster.active()}
    marked: list[str] = []
    cluster.informers.of(NODES).on_change(
        lambda change: marked.append(change.item.name) if condition(change.item.object, "Ready") != "True" else None
    )
    cluster.api.broker.stop()
    await cluster.pass_time(20)
    cluster.api.broker.start()
    await cluster.pass_time(20)
    assert marked == []
    assert {each.metadata.name for each in cluster.active()} == before

    cluster.silent.add("node-0")
    await cluster.eventually(lambda: marked, 20)


async def test_nobody_is_judged_by_heartbeats_that_do_not_reach_the_controllers(cluster: Cluster) -> None:
    """The stream of heartbeats is not there, though the bus is."""
    await cluster.pass_time(3)
    cluster.api.broker.delete_stream("HEARTBEATS")
    await cluster.pass_time(20)
    for name in cluster.nodes:
        assert await ready_status(cluster, name) == "True"


async def test_pods_of_a_node_that_no_longer_exists_are_removed(cluster: Cluster) -> None:
    await cluster.client.create(PODS, "default", bare_pod("stranded", "node-0"))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    await cluster.client.delete(PODS, "default", "stranded", grace_period=300)
    cluster.stops = lambda _: False
    cluster.nodes.remove("node-0")
    await cluster.client.create(PODS, "default", bare_pod("second", "node-0"))
    await cluster.client.delete(NODES, "", "node-0")
    await cluster.pass_time(30)
    assert pod(cluster, "second") is not None, "the node may come back"
    await cluster.eventually(lambda: pod(cluster, "second") is None, 15)


async def test_what_is_said_to_be_out_of_service_does_not_hold_its_pods(cluster: Cluster) -> None:
    await cluster.client.create(PODS, "default", bare_pod("held", "node-0"))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    cluster.silent.add("node-0")
    await cluster.eventually(lambda: names(cluster) == set(), 20)
    await cluster.pass_time(20)
    assert pod(cluster, "held") is not None
    node = await cluster.client.get(NODES, "", "node-0")
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    kept = [{"key": each.key, "effect": each.effect, "timeAdded": each.time_added} for each in node.spec.taints]
    await cluster.client.patch(NODES, "", "node-0", {"spec": {"taints": [*kept, taint]}})
    await cluster.eventually(lambda: pod(cluster, "held") is None, 35)


@pytest.mark.parametrize(
    ("kind", "key"), [("MemoryPressure", "memory-pressure"), ("DiskPressure", "disk-pressure"), ("", "unschedulable")]
)
async def test_conditions_and_cordons_become_taints(cluster: Cluster, kind: str, key: str) -> None:
    wanted = {(f"node.kubernetes.io/{key}", "NoSchedule")}

    async def is_tainted() -> bool:
        return await taints(cluster, "node-0") == wanted

    async def is_free() -> bool:
        return not await taints(cluster, "node-0")

    async def put(present: bool) -> None:
        if kind:
            patch = {"status": {"conditions": [{"type": kind, "status": str(present)}]}}
            await cluster.client.patch(NODES, "", "node-0", patch, subresource="status", strategic=True)
        else:
            await cluster.client.patch(NODES, "", "node-0", {"spec": {"unschedulable": present}})

    await put(present=True)
    await cluster.eventually(is_tainted)
    await put(present=False)
    await cluster.eventually(is_free)


def names(cluster: Cluster) -> set[str]:
    return {each.metadata.name for each in cluster.active()}
