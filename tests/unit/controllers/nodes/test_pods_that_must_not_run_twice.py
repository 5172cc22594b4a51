"""A pod that lives by its node's lease leaves a lost node only when that lease is over."""

from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Cluster

from orch.objects.fencing import ANNOTATION, is_fenced_by_lease
from orch.objects.meta import ObjectMeta, OwnerReference
from orch.objects.pods import Pod
from orch.objects.scheme import LEASES, PODS


def bare(name: str, *, fenced: bool) -> dict[str, Any]:
    annotations = {ANNOTATION: "true"} if fenced else {}
    spec = {"nodeName": "node-0", "containers": [{"name": "main", "image": "nginx:1"}]}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": spec}


def state(cluster: Cluster, name: str) -> str:
    item = cluster.pods.get("default", name)
    if item is None:
        return "gone"
    return "ending" if item.object.metadata.deletion_timestamp else "there"


async def test_it_goes_when_its_node_has_stopped_it_by_itself(cluster: Cluster) -> None:
    for name, fenced in (("database", True), ("web", False)):
        await cluster.client.create(PODS, "default", bare(name, fenced=fenced))
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    cluster.silent.add("node-0")
    began = cluster.clock.monotonic()
    await cluster.eventually(lambda: state(cluster, "database") == "ending", 15)
    assert cluster.clock.monotonic() - began <= 10
    await cluster.pass_time(10)
    assert state(cluster, "database") == "ending", "its node's lease is not over"
    await cluster.eventually(lambda: state(cluster, "database") == "gone", 20)
    assert cluster.clock.monotonic() - began >= cluster.lease_seconds + 4
    await cluster.pass_time(20)
    assert state(cluster, "web") == "ending", "nobody knows whether it has ended"


async def test_a_node_that_promises_nothing_keeps_it(cluster: Cluster) -> None:
    cluster.lease_seconds = 0
    await cluster.pass_time(2)
    await cluster.client.create(PODS, "default", bare("database", fenced=True))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    cluster.silent.add("node-0")
    await cluster.pass_time(60)
    assert state(cluster, "database") == "ending"


async def test_a_node_that_is_heard_again_in_time_ends_it_itself(cluster: Cluster) -> None:
    await cluster.client.create(PODS, "default", bare("database", fenced=True))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    cluster.silent.add("node-0")
    await cluster.eventually(lambda: state(cluster, "database") == "ending", 15)
    cluster.stops = lambda _: False
    cluster.silent.clear()
    await cluster.pass_time(40)
    assert state(cluster, "database") == "ending", "it is there and takes its time"
    cluster.stops = lambda _: True
    await cluster.treat_all()
    await cluster.eventually(lambda: state(cluster, "database") == "gone", 5)


async def test_a_controller_that_is_new_waits_as_long_as_it_has_listened(cluster: Cluster) -> None:
    await cluster.client.create(PODS, "default", bare("database", fenced=True))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    cluster.silent.add("node-0")
    await cluster.pass_time(15)
    cluster.processes[0][1].cancel()
    await cluster.controllers("second")
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    await cluster.pass_time(20)
    assert state(cluster, "database") == "ending"
    await cluster.eventually(lambda: state(cluster, "database") == "gone", 20)


@pytest.mark.parametrize(
    ("kind", "version", "annotation", "fenced"),
    [
        ("StatefulSet", "apps/v1", "", True),
        ("StatefulSet", "apps.example/v1", "", False),
        ("ReplicaSet", "apps/v1", "", False),
        ("ReplicaSet", "apps/v1", "true", True),
        ("StatefulSet", "apps/v1", "false", False),
        ("", "", "", False),
    ],
)
def test_which_pods_these_are(kind: str, version: str, annotation: str, fenced: bool) -> None:
    owners = (OwnerReference(api_version=version, kind=kind, name="x", controller=True),) if kind else ()
    annotations = {ANNOTATION: annotation} if annotation else {}
    pod = Pod(metadata=ObjectMeta(owner_references=owners, annotations=annotations))
    assert is_fenced_by_lease(pod) is fenced


async def test_nodes_have_leases_that_are_renewed_while_they_are_heard(cluster: Cluster) -> None:
    async def renewed() -> dict[str, str]:
        leases = await cluster.client.list(LEASES, "kube-node-lease")
        return {each.metadata.name: each.metadata.resource_version for each in leases}

    await cluster.pass_time(3)
    first = await renewed()
    assert first.keys() == {"node-0", "node-1"}
    cluster.silent.add("node-1")
    await cluster.pass_time(12)
    second = await renewed()
    await cluster.pass_time(12)
    third = await renewed()
    assert second["node-0"] != first["node-0"]
    assert third["node-0"] != second["node-0"]
    assert third["node-1"] == second["node-1"]


async def test_a_silent_node_is_suspected_within_two_seconds(cluster: Cluster) -> None:
    await cluster.pass_time(3)
    cluster.silent.add("node-1")
    await cluster.pass_time(2)

    async def told() -> bool:
        return any(event.reason == "NodeSuspected" for event in await cluster.events())

    await cluster.eventually(told, 0.5)
    await cluster.pass_time(0.5)
    cluster.silent.clear()
    await cluster.pass_time(6)
    assert not any(event.reason == "NodeNotReady" for event in await cluster.events())
