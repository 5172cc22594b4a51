from __future__ import annotations

import pytest
from memory_cluster import Cluster, deployment

from orch.errors import ForbiddenError
from orch.objects.meta import Object
from orch.objects.scheme import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Kind

ROLES: Kind[Object] = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", True, Object)


async def make(cluster: Cluster, name: str) -> None:
    await cluster.client.create(NAMESPACES, "", {"metadata": {"name": name}})


async def gone(cluster: Cluster, name: str) -> None:
    async def is_gone() -> bool:
        return not await cluster.exists(NAMESPACES, "", name)

    await cluster.eventually(is_gone)


async def test_all_that_a_namespace_holds_goes_with_it(cluster: Cluster) -> None:
    await make(cluster, "team")
    await cluster.client.create(DEPLOYMENTS, "team", deployment())
    await cluster.client.create(CONFIG_MAPS, "team", {"metadata": {"name": "settings"}})
    await cluster.client.create(ROLES, "team", {"metadata": {"name": "of-a-kind-that-no-controller-reads"}})
    await cluster.eventually(lambda: len(cluster.active(namespace="team")) == 3)
    await cluster.client.delete(NAMESPACES, "", "team")
    await gone(cluster, "team")
    for kind in (DEPLOYMENTS, PODS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES):
        assert await cluster.client.list(kind, "team") == []


async def test_it_says_what_it_waits_for(cluster: Cluster) -> None:
    await make(cluster, "team")
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await cluster.client.create(CONFIG_MAPS, "team", held)
    await cluster.client.delete(NAMESPACES, "", "team")

    async def said() -> dict[str, str]:
        found = await cluster.client.get(NAMESPACES, "", "team")
        return {each.type: each.message for each in found.status.conditions}

    async def says() -> bool:
        return (await said()).get("NamespaceContentRemaining", "") == (
            "Some resources are remaining: configmaps. has 1 resource instances"
        )

    await cluster.eventually(says)
    message = (await said())["NamespaceFinalizersRemaining"]
    expected = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    assert message == expected
    with pytest.raises(ForbiddenError):
        await cluster.client.create(CONFIG_MAPS, "team", {"metadata": {"name": "late"}})
    await cluster.client.patch(CONFIG_MAPS, "team", "held", {"metadata": {"finalizers": None}})
    await gone(cluster, "team")


async def test_every_namespace_has_a_default_account_again_and_again(cluster: Cluster) -> None:
    await make(cluster, "team")

    async def there() -> bool:
        return await cluster.exists(SERVICE_ACCOUNTS, "team", "default")

    await cluster.eventually(there)
    first = await cluster.client.get(SERVICE_ACCOUNTS, "team", "default")
    await cluster.client.delete(SERVICE_ACCOUNTS, "team", "default")

    async def anew() -> bool:
        return await there() and (
            (await cluster.client.get(SERVICE_ACCOUNTS, "team", "default")).metadata.uid != first.metadata.uid
        )

    await cluster.eventually(anew)
    for namespace in ("default", "kube-system"):
        assert await cluster.exists(SERVICE_ACCOUNTS, namespace, "default")
