"""Services of type LoadBalancer get an address of the pool, keep it, and give it back."""

from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Cluster

from orch.errors import ConfigError
from orch.objects.networking import Service
from orch.objects.scheme import SERVICE_CIDRS, SERVICES
from orch_controllers.service_load_balancers.pool import Pool
from orch_controllers.service_load_balancers.reconciler import FINALIZER


def balanced(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}}


async def get(cluster: Cluster, name: str) -> Service:
    return await cluster.client.get(SERVICES, "default", name)


async def address(cluster: Cluster, name: str) -> str:
    ingress = (await get(cluster, name)).status.load_balancer.ingress
    return ingress[0].ip if ingress else ""


async def given(cluster: Cluster, name: str) -> str:
    async def has_one() -> bool:
        return bool(await address(cluster, name))

    await cluster.eventually(has_one, 15)
    return await address(cluster, name)


async def reasons(cluster: Cluster, name: str) -> list[str]:
    return [event.reason for event in await cluster.events() if event.involved_object.get("name") == name]


async def test_each_has_its_own(cluster: Cluster) -> None:
    for number in range(4):
        await cluster.client.create(SERVICES, "default", balanced(f"s{number}"))
    found = [await given(cluster, f"s{number}") for number in range(4)]
    assert sorted(found) == [f"127.64.0.{number}" for number in range(1, 5)]
    service = await get(cluster, "s0")
    assert service.metadata.finalizers == (FINALIZER,)
    assert service.status.load_balancer.ingress[0].ip_mode == "VIP"
    await cluster.told("EnsuringLoadBalancer", "EnsuredLoadBalancer")
    assert await reasons(cluster, "s0") == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]


async def test_a_service_that_goes_or_changes_gives_it_back(cluster: Cluster) -> None:
    for name in ("a", "b"):
        await cluster.client.create(SERVICES, "default", balanced(name))
        await given(cluster, name)
    await cluster.client.delete(SERVICES, "default", "a")

    async def gone() -> bool:
        return not await cluster.exists(SERVICES, "default", "a")

    await cluster.eventually(gone, 10)
    await cluster.client.patch(SERVICES, "default", "b", {"spec": {"type": "ClusterIP"}})

    async def plain() -> bool:
        service = await get(cluster, "b")
        return not service.metadata.finalizers and not service.status.load_balancer.ingress

    await cluster.eventually(plain, 10)
    await cluster.client.create(SERVICES, "default", balanced("c"))
    assert await given(cluster, "c") == "127.64.0.1"
    await cluster.told("DeletedLoadBalancer")
    assert (await reasons(cluster, "b"))[-2:] == ["DeletingLoadBalancer", "DeletedLoadBalancer"]


async def test_an_address_can_be_asked_for(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", balanced("a", loadBalancerIP="127.64.7.7"))
    assert await given(cluster, "a") == "127.64.7.7"
    await cluster.client.create(SERVICES, "default", balanced("b", loadBalancerIP="127.64.7.7"))
    await cluster.client.create(SERVICES, "default", balanced("c", loadBalancerIP="192.0.2.1"))
    await cluster.settled(3)
    messages = {event.involved_object["name"]: event.message for event in await cluster.events()}
    failed = "Error syncing load balancer: failed to ensure load balancer: requested address"
    assert messages["b"] == f"{failed} 127.64.7.7 is already allocated"
    assert messages["c"] == f"{failed} 192.0.2.1 is not in the range of load balancers (127.64.0.0/16)"
    await cluster.client.delete(SERVICES, "default", "a")
    assert await given(cluster, "b") == "127.64.7.7"


async def test_services_of_another_class_are_left_to_others(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", balanced("theirs", loadBalancerClass="example.com/lb"))
    await cluster.client.create(SERVICES, "default", balanced("ours", loadBalancerClass="orch.dev/load-balancer"))
    await given(cluster, "ours")
    await cluster.settled(2)
    assert not await address(cluster, "theirs")
    assert not (await get(cluster, "theirs")).metadata.finalizers


async def test_a_new_leader_gives_nothing_twice(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", balanced("a"))
    first = await given(cluster, "a")
    cluster.processes[0][1].cancel()
    await cluster.controllers("second")
    await cluster.client.create(SERVICES, "default", balanced("b"))
    assert await given(cluster, "b") != first
    assert await address(cluster, "a") == first


def test_pools() -> None:
    pool = Pool(("127.64.0.0/30", "127.65.0.0/32"))
    assert "127.64.0.0" not in pool
    assert "127.64.0.3" not in pool
    assert "127.65.0.0" in pool
    assert "x" not in pool
    taken: set[str] = set()
    while found := pool.pick(taken.__contains__):
        taken.add(found)
    assert taken == {"127.64.0.1", "127.64.0.2", "127.65.0.0"}
    with pytest.raises(ConfigError, match="load_balancer_ranges"):
        Pool(("127.64.0.1/16",))


async def test_a_range_of_services_is_ready_and_goes_when_nothing_of_it_is_in_use(cluster: Cluster) -> None:
    async def ready(name: str) -> str:
        if not await cluster.exists(SERVICE_CIDRS, "", name):
            return "gone"
        conditions = (await cluster.client.get(SERVICE_CIDRS, "", name)).status.conditions
        return conditions[0].status if conditions else ""

    async def is_(name: str, state: str) -> None:
        async def holds() -> bool:
            return await ready(name) == state

        await cluster.eventually(holds, 30)

    await is_("kubernetes", "True")
    extra = {"metadata": {"name": "extra"}, "spec": {"cidrs": ["10.97.0.0/24"]}}
    await cluster.client.create(SERVICE_CIDRS, "", extra)
    await is_("extra", "True")
    plain = {"metadata": {"name": "a"}, "spec": {"clusterIP": "10.97.0.9", "ports": [{"port": 80}]}}
    await cluster.client.create(SERVICES, "default", plain)
    await cluster.client.delete(SERVICE_CIDRS, "", "extra")
    await is_("extra", "False")
    await cluster.client.delete(SERVICES, "default", "a")
    await is_("extra", "gone")
