"""Quotas through the lives of what they count (sig-api-machinery: ResourceQuota), with the controller that counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from expecting_client import Client
from memory_cluster import Cluster, running_cluster

from orch.clock import ManualClock

CORE = "/api/v1/namespaces/default"
SETS = "/apis/apps/v1/namespaces/default/replicasets"
QUOTAS = f"{CORE}/resourcequotas"
SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}
WORKLOAD = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}


class Counted:
    """A cluster whose quotas are watched."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api = Client(cluster.api)

    async def quota(self, name: str, hard: dict[str, str], *scopes: str) -> None:
        """Create a quota, and wait until its status says what is used."""
        spec = {"hard": hard, **({"scopes": list(scopes)} if scopes else {})}
        await self.api.create(QUOTAS, {"metadata": {"name": name}, "spec": spec})
        await self.used(name)

    async def used(self, name: str, **wanted: str) -> None:
        """Wait until a quota counts this, and of all else nothing, or what else it says in `_`-less names."""
        found: dict[str, str] = {}

        async def told() -> bool:
            status = (await self.api.get(f"{QUOTAS}/{name}")).get("status", {})
            found.clear()
            found.update(status.get("used", {}))
            hard = (await self.api.get(f"{QUOTAS}/{name}"))["spec"]["hard"]
            return status.get("hard") == hard and found == {**dict.fromkeys(hard, "0"), **wanted}

        await self.cluster.eventually(told, 120)

    async def pod(self, name: str, resources: Any = None, *, expect: int = 201, **spec: Any) -> Any:
        container = {"name": "main", "image": "nginx", **({"resources": resources} if resources else {})}
        body = {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
        return await self.api.create(f"{CORE}/pods", body, expect=expect)

    async def gone(self, path: str) -> None:
        """Delete an object and wait until it is gone."""
        await self.api.delete(path, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})

        async def missing() -> bool:
            return (await self.api.http("GET", path)).status == 404

        await self.cluster.eventually(missing)


@pytest.fixture
async def counted() -> AsyncIterator[Counted]:
    async with running_cluster(ManualClock()) as cluster:
        yield Counted(cluster)


def objects() -> list[tuple[str, str, dict[str, Any]]]:
    """What a quota counts, where that is made, and one of it."""
    secret = {"data": {"a": "Yg=="}}
    template = {"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": WORKLOAD}}
    controller = {"spec": {"replicas": 0, "selector": {"app": "a"}, "template": WORKLOAD}}
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    return [
        ("secrets", f"{CORE}/secrets", secret),
        ("configmaps", f"{CORE}/configmaps", {"data": {"a": "b"}}),
        ("replicationcontrollers", f"{CORE}/replicationcontrollers", controller),
        ("count/replicasets.apps", SETS, template),
        ("persistentvolumeclaims", f"{CORE}/persistentvolumeclaims", claim),
    ]


async def test_objects_are_counted_while_they_live(counted: Counted) -> None:
    """Services, by type, and one of each other kind: counted when they come, given back when they go."""
    api = counted.api
    before = len(await api.items(f"{CORE}/configmaps"))
    hard = {name: "10" for name, _, _ in objects()} | {
        "resourcequotas": "1",
        "services": "2",
        "services.nodeports": "1",
    }
    others = {"resourcequotas": "1", "services": "1"}
    if before:
        others["configmaps"] = str(before)
    body = {"metadata": {"name": "q"}, "spec": {"hard": hard}}
    await api.create(QUOTAS, body)
    await counted.used("q", **others)
    for name, path, document in objects():
        await api.create(path, {"metadata": {"name": "one"}, **document})
        await counted.used("q", **{**others, name: str(int(others.get(name, "0")) + 1)})
        await counted.gone(f"{path}/one")
    ports = {"ports": [{"port": 80}], "type": "NodePort"}
    await api.create(f"{CORE}/services", {"metadata": {"name": "s"}, "spec": ports})
    await counted.used("q", **{**others, "services": "2", "services.nodeports": "1"})
    refused = await api.create(
        f"{CORE}/services", {"metadata": {"name": "t"}, "spec": {"ports": [{"port": 1}]}}, expect=403
    )
    assert refused["message"] == (
        'services "t" is forbidden: exceeded quota: q, requested: services=1, used: services=2, limited: services=2'
    )
    await counted.gone(f"{CORE}/services/s")
    await counted.used("q", **others)


async def test_the_life_of_a_pod(counted: Counted) -> None:
    hard = {"pods": "5", "cpu": "1", "memory": "500Mi", "requests.example.com/dongle": "3"}
    await counted.quota("q", hard)
    dongles = {"example.com/dongle": "2"}
    resources = {"requests": {"cpu": "500m", "memory": "252Mi", **dongles}, "limits": dongles}
    await counted.pod("p", resources)
    used = {"pods": "1", "cpu": "500m", "memory": "252Mi", "requests.example.com/dongle": "2"}
    await counted.used("q", **used)
    more = {"requests": {"cpu": "600m", "memory": "100Mi"}}
    assert "exceeded quota: q, requested: cpu=600m" in (await counted.pod("r", more, expect=403))["message"]
    again = {"requests": {"cpu": "1m", "memory": "1Mi", **dongles}, "limits": dongles}
    assert "requests.example.com/dongle=2" in (await counted.pod("r", again, expect=403))["message"]
    changed = [{"name": "main", "image": "nginx", "resources": {"requests": {"cpu": "100m"}}}]
    await counted.api.patch(f"{CORE}/pods/p", {"spec": {"containers": changed}}, "strategic", expect=422)
    await counted.used("q", **used)
    await counted.gone(f"{CORE}/pods/p")
    await counted.used("q")


async def test_scopes(counted: Counted) -> None:
    for scope, inside in (("BestEffort", ({}, {})), ("Terminating", (SMALL, {"activeDeadlineSeconds": 3600}))):
        within, beyond = scope.lower(), f"not-{scope.lower()}"
        await counted.quota(within, {"pods": "5"}, scope)
        await counted.quota(beyond, {"pods": "5"}, f"Not{scope}")
        for (resources, spec), counts, other in ((inside, within, beyond), ((SMALL, {}), beyond, within)):
            await counted.pod("p", resources, **spec)
            await counted.used(counts, pods="1")
            await counted.used(other)
            await counted.gone(f"{CORE}/pods/p")
            await counted.used(counts)


async def test_a_quota_is_changed_listed_and_deleted(counted: Counted) -> None:
    """Its status follows its spec; a write to the status leaves the spec alone, and is put right again."""
    api = counted.api
    await counted.quota("q", {"cpu": "500m", "memory": "500Mi"})
    await api.patch(f"{QUOTAS}/q", {"metadata": {"labels": {"e2e": "q"}}, "spec": {"hard": {"cpu": "1"}}})
    await counted.used("q")
    read = await api.get(f"{QUOTAS}/q/status")
    assert read["status"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    read["status"]["hard"] = {"cpu": "2"}
    read["spec"]["hard"] = {"cpu": "9"}
    updated = await api.put(f"{QUOTAS}/q/status", read)
    assert updated["status"]["hard"] == {"cpu": "2"}
    assert updated["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    await counted.used("q")
    assert len(await api.items("/api/v1/resourcequotas?labelSelector=e2e=q")) == 1
    await api.delete(f"{QUOTAS}?labelSelector=e2e=q")
    assert await api.items(QUOTAS) == []


async def test_a_controller_says_that_a_quota_is_in_its_way(counted: Counted) -> None:
    """A ReplicationController whose pods are refused has a condition, until there is room (sig-apps)."""
    api, path = counted.api, f"{CORE}/replicationcontrollers/rc"
    await counted.quota("q", {"pods": "2"})
    spec = {"replicas": 3, "selector": {"app": "a"}, "template": WORKLOAD}
    await api.create(f"{CORE}/replicationcontrollers", {"metadata": {"name": "rc"}, "spec": spec})

    async def conditions() -> dict[str, Any]:
        return {one["type"]: one for one in (await api.get(path))["status"].get("conditions", ())}

    async def fails() -> bool:
        return "exceeded quota" in (await conditions()).get("ReplicaFailure", {}).get("message", "")

    async def well() -> bool:
        return not await conditions()

    await counted.cluster.eventually(fails)
    await api.patch(f"{path}/scale", {"spec": {"replicas": 2}})
    await counted.cluster.eventually(well)
