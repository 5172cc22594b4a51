"""What controllers clear away (sig-api-machinery: Garbage collector, Namespaces): deletions seen from the api."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from expecting_client import Client
from memory_cluster import Cluster, deployment, running_cluster

from orch.clock import ManualClock

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SETS = "/apis/apps/v1/namespaces/default/replicasets"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(ManualClock()) as found:
        yield found


@pytest.fixture
def owned(cluster: Cluster) -> Client:
    return Client(cluster.api)


def owner(document: dict[str, Any], *, blocking: bool = False) -> dict[str, Any]:
    metadata = document["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"]}
    return {**reference, "blockOwnerDeletion": True} if blocking else reference


async def make(api: Client, name: str, *owners: dict[str, Any], **more: Any) -> dict[str, Any]:
    return await api.create(MAPS, {"metadata": {"name": name, "ownerReferences": list(owners), **more}})


async def test_dependents_go_with_their_owner(cluster: Cluster, owned: Client) -> None:
    await owned.create(DEPLOYMENTS, deployment(replicas=2))
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    await owned.delete(f"{DEPLOYMENTS}/web", {"propagationPolicy": "Background"})

    async def nothing() -> bool:
        return not await owned.items(SETS) and not await owned.items(PODS)

    await cluster.eventually(nothing)


async def test_orphans_stay(cluster: Cluster, owned: Client) -> None:
    await owned.create(DEPLOYMENTS, deployment(replicas=1))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    await owned.delete(f"{DEPLOYMENTS}/web", {"propagationPolicy": "Orphan"})

    async def gone() -> bool:
        return not await owned.items(DEPLOYMENTS)

    await cluster.eventually(gone)
    await cluster.settled()
    (kept,) = await owned.items(SETS)
    assert "ownerReferences" not in kept["metadata"]
    assert len(await owned.items(PODS)) == 1


async def test_an_owner_waits_for_its_dependents(cluster: Cluster, owned: Client) -> None:
    first = await make(owned, "owner")
    await make(owned, "held", owner(first, blocking=True), finalizers=["example.com/hold"])
    await owned.delete(f"{MAPS}/owner", {"propagationPolicy": "Foreground"})

    async def marked() -> bool:
        return "deletionTimestamp" in (await owned.get(f"{MAPS}/held"))["metadata"]

    await cluster.eventually(marked)
    assert (await owned.get(f"{MAPS}/owner"))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await owned.patch(f"{MAPS}/held", {"metadata": {"finalizers": None}})

    async def both_gone() -> bool:
        return not await owned.names(MAPS + "?fieldSelector=metadata.name=owner")

    await cluster.eventually(both_gone)


async def test_another_owner_keeps_a_dependent(cluster: Cluster, owned: Client) -> None:
    first, second = await make(owned, "first"), await make(owned, "second")
    await make(owned, "shared", owner(first, blocking=True), owner(second))
    await owned.delete(f"{MAPS}/first", {"propagationPolicy": "Foreground"})

    async def released() -> bool:
        references = (await owned.get(f"{MAPS}/shared"))["metadata"]["ownerReferences"]
        return [one["name"] for one in references] == ["second"]

    await cluster.eventually(released)


async def test_circles_do_not_block(cluster: Cluster, owned: Client) -> None:
    made = [await make(owned, name) for name in ("c1", "c2", "c3")]
    for number, one in enumerate(made):
        references = [owner(made[number - 1], blocking=True)]
        await owned.patch(f"{MAPS}/{one['metadata']['name']}", {"metadata": {"ownerReferences": references}})
    await owned.delete(f"{MAPS}/c1", {"propagationPolicy": "Foreground"})

    async def all_gone() -> bool:
        return not {"c1", "c2", "c3"} & set(await owned.names(MAPS))

    await cluster.eventually(all_gone)


async def test_a_namespace_takes_all_with_it(cluster: Cluster, owned: Client) -> None:
    await owned.create("/api/v1/namespaces", {"metadata": {"name": "ns"}})
    spec = {"containers": [{"name": "main", "image": "nginx"}]}
    await owned.create("/api/v1/namespaces/ns/pods", {"metadata": {"name": "p"}, "spec": spec})
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    await owned.create("/api/v1/namespaces/ns/services", service)
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await owned.create("/api/v1/namespaces/ns/configmaps", held)
    await owned.delete("/api/v1/namespaces/ns")

    async def waits() -> bool:
        status = (await owned.get("/api/v1/namespaces/ns"))["status"]
        conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
        return conditions.get("NamespaceFinalizersRemaining") == "True"

    await cluster.eventually(waits)
    assert not await owned.items("/api/v1/namespaces/ns/services")
    await owned.patch("/api/v1/namespaces/ns/configmaps/held", {"metadata": {"finalizers": None}})

    async def ended() -> bool:
        return (await owned.http("GET", "/api/v1/namespaces/ns")).status == 404

    await cluster.eventually(ended)
    await owned.create("/api/v1/namespaces", {"metadata": {"name": "ns"}})
    assert not await owned.items("/api/v1/namespaces/ns/pods")


async def test_pods_of_a_namespace_go_before_all_else(cluster: Cluster, owned: Client) -> None:
    await owned.create("/api/v1/namespaces", {"metadata": {"name": "ns"}})
    await owned.create("/api/v1/namespaces/ns/configmaps", {"metadata": {"name": "needed"}})
    metadata = {"name": "p", "finalizers": ["example.com/hold"]}
    spec = {"containers": [{"name": "main", "image": "nginx"}]}
    await owned.create("/api/v1/namespaces/ns/pods", {"metadata": metadata, "spec": spec})
    await owned.delete("/api/v1/namespaces/ns")

    async def waits() -> bool:
        status = (await owned.get("/api/v1/namespaces/ns"))["status"]
        conditions = {one["type"]: one for one in status.get("conditions", ())}
        found = conditions.get("NamespaceContentRemaining", {})
        return "pods. has 1 resource instances" in found.get("message", "")

    await cluster.eventually(waits)
    await cluster.settled()
    needed = await owned.get("/api/v1/namespaces/ns/configmaps/needed")
    assert "deletionTimestamp" not in needed["metadata"]
    await owned.patch("/api/v1/namespaces/ns/pods/p", {"metadata": {"finalizers": None}})

    async def ended() -> bool:
        return (await owned.http("GET", "/api/v1/namespaces/ns")).status == 404

    await cluster.eventually(ended)
