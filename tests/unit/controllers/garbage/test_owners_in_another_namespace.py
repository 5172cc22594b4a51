from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.meta import Object
from orch.objects.scheme import CONFIG_MAPS, NAMESPACES, Kind

CLASSES = Kind("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False, Object)


async def owner_elsewhere(cluster: Cluster) -> dict[str, Any]:
    """Return a reference to a config map of another namespace."""
    await cluster.client.create(NAMESPACES, "", {"metadata": {"name": "other"}})
    made = await cluster.client.create(CONFIG_MAPS, "other", {"metadata": {"name": "owner"}})
    await cluster.settled(0.5)
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made.metadata.uid}


async def told(cluster: Cluster) -> list[str]:
    return [
        event.message
        for event in await cluster.told("OwnerRefInvalidNamespace")
        if event.reason == "OwnerRefInvalidNamespace"
    ]


async def test_the_dependent_goes_and_people_are_told_why(cluster: Cluster) -> None:
    reference = await owner_elsewhere(cluster)
    body = {"metadata": {"name": "dependent", "ownerReferences": [reference]}}
    await cluster.client.create(CONFIG_MAPS, "default", body)

    async def gone() -> bool:
        return not await cluster.exists(CONFIG_MAPS, "default", "dependent")

    await cluster.eventually(gone)
    await cluster.settled(0.5)
    named = f"[v1/ConfigMap, namespace: default, name: owner, uid: {reference['uid']}]"
    assert await told(cluster) == [f'ownerRef {named} does not exist in namespace "default"']
    assert await cluster.exists(CONFIG_MAPS, "other", "owner")


async def test_what_is_in_no_namespace_stays_though_its_owner_is_in_one(cluster: Cluster) -> None:
    reference = await owner_elsewhere(cluster)
    body = {"metadata": {"name": "plain", "ownerReferences": [reference]}, "spec": {"controller": "a.b/c"}}
    await cluster.client.create(CLASSES, "", body)
    await cluster.settled(2)
    assert await cluster.exists(CLASSES, "", "plain")
    assert len(await told(cluster)) == 1


async def without_dependents(cluster: Cluster) -> bool:
    return not any(each.metadata.name.startswith("dependent") for each in await cluster.client.list(CONFIG_MAPS))


async def test_an_owner_that_is_gone_is_asked_for_once(cluster: Cluster) -> None:
    made = await cluster.client.create(CONFIG_MAPS, "default", {"metadata": {"name": "owner"}})
    await cluster.client.delete(CONFIG_MAPS, "default", "owner")
    client: Any = cluster.processes[0][0]._client
    get, asked = client.get, []

    async def count(kind: Any, namespace: str, name: str, **more: Any) -> Any:
        asked.append(name)
        return await get(kind, namespace, name, **more)

    client.get = count
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made.metadata.uid}
    for number in range(5):
        body = {"metadata": {"name": f"dependent-{number}", "ownerReferences": [reference]}}
        await cluster.client.create(CONFIG_MAPS, "default", body)
        await cluster.eventually(lambda: without_dependents(cluster))
    assert asked.count("owner") == 1
