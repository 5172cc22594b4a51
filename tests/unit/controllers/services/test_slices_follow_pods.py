"""Endpoints and slices in a whole cluster, as services and pods come, change and go."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from memory_cluster import Cluster

from orch.errors import UnavailableError
from orch.objects.discovery import MANAGED_BY, SERVICE_NAME, TRIGGER_TIME, Endpoints, EndpointSlice
from orch.objects.scheme import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from orch.runtime.client import BusClient
from orch_controllers.endpoint_slices.mirroring import MANAGER as MIRROR
from orch_controllers.endpoint_slices.reconciler import MANAGER


@pytest.fixture
async def cluster(cluster: Cluster) -> Cluster:
    for kind in (ENDPOINTS, ENDPOINT_SLICES):
        informer = cluster.informers.of(kind)
        await informer.wait_synced(10)
    return cluster


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec},
    }


def slices(cluster: Cluster, name: str = "web", manager: str = MANAGER) -> list[EndpointSlice]:
    found = (item.object for item in cluster.informers.of(ENDPOINT_SLICES).items("default"))
    return [
        each
        for each in found
        if each.metadata.labels.get(SERVICE_NAME) == name and each.metadata.labels.get(MANAGED_BY) == manager
    ]


def endpoints(cluster: Cluster, name: str = "web") -> Endpoints | None:
    item = cluster.informers.of(ENDPOINTS).get("default", name)
    return item.object if item is not None else None


def targets(cluster: Cluster, name: str = "web", *, ready: bool = True) -> set[str]:
    return {
        each.target_ref.name
        for slice_ in slices(cluster, name)
        for each in slice_.endpoints
        if each.target_ref is not None and each.conditions.ready is ready
    }


def ready_names(cluster: Cluster) -> set[str]:
    return {pod.metadata.name for pod in cluster.ready()}


async def test_a_service_has_a_slice_with_its_ready_pods(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service())
    await cluster.eventually(lambda: [len(each.endpoints) for each in slices(cluster)] == [0])
    await cluster.deploy(replicas=3)
    await cluster.eventually(lambda: targets(cluster) == ready_names(cluster) and len(targets(cluster)) == 3)
    (slice_,) = slices(cluster)
    meta = slice_.metadata
    assert meta.generate_name == "web-"
    assert meta.labels == {"tier": "front", SERVICE_NAME: "web", MANAGED_BY: MANAGER}
    owner = meta.controller
    assert owner is not None
    assert (owner.kind, owner.name, owner.block_owner_deletion) == ("Service", "web", True)
    assert TRIGGER_TIME in meta.annotations
    (port,) = slice_.ports
    assert (port.name, port.port, port.protocol) == ("http", 8080, "TCP")
    assert {each.node_name for each in slice_.endpoints} == {"node-0", "node-1"}


async def test_endpoints_say_the_same(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service())
    await cluster.deploy(replicas=2)

    def addresses() -> int:
        found = endpoints(cluster)
        return sum(len(subset.addresses) for subset in found.subsets) if found is not None else -1

    await cluster.eventually(lambda: addresses() == 2)
    found = endpoints(cluster)
    assert found is not None
    assert found.metadata.labels == {"tier": "front", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    await cluster.client.delete(SERVICES, "default", "web")
    await cluster.eventually(lambda: endpoints(cluster) is None and not slices(cluster))


async def test_a_pod_that_ends_keeps_serving_until_it_is_gone_but_is_not_ready(cluster: Cluster) -> None:
    cluster.stops = lambda _: False
    await cluster.client.create(SERVICES, "default", service())
    await cluster.deploy(replicas=2)
    await cluster.eventually(lambda: len(targets(cluster)) == 2)
    name = min(targets(cluster))
    await cluster.client.delete(PODS, "default", name)
    await cluster.eventually(lambda: name in targets(cluster, ready=False))
    (endpoint,) = (
        each
        for slice_ in slices(cluster)
        for each in slice_.endpoints
        if each.target_ref is not None and each.target_ref.name == name
    )
    assert (endpoint.conditions.serving, endpoint.conditions.terminating) == (True, True)
    found = endpoints(cluster)
    assert found is not None
    assert name not in {one.target_ref.name for subset in found.subsets for one in subset.addresses if one.target_ref}


async def test_what_others_change_in_a_slice_is_put_right(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service())
    await cluster.deploy(replicas=2)
    await cluster.eventually(lambda: len(targets(cluster)) == 2)
    name = slices(cluster)[0].metadata.name
    await cluster.client.patch(ENDPOINT_SLICES, "default", name, {"endpoints": []})
    await cluster.settled(1)
    assert len(targets(cluster)) == 2
    await cluster.client.delete(ENDPOINT_SLICES, "default", name)
    await cluster.eventually(lambda: len(targets(cluster)) == 2 and slices(cluster)[0].metadata.name != name)


async def test_a_change_of_selector_and_of_ports_changes_slices(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service(selector={"app": "other"}))
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    assert targets(cluster) == set()
    patch = {"spec": {"selector": {"app": "web"}, "ports": [{"name": "https", "port": 443, "targetPort": 8443}]}}
    await cluster.client.patch(SERVICES, "default", "web", patch)
    await cluster.eventually(lambda: len(targets(cluster)) == 2)
    assert [[port.port for port in each.ports] for each in slices(cluster)] == [[8443]]


async def test_a_node_that_gets_a_zone_gives_it_to_its_endpoints(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service(trafficDistribution="PreferSameZone"))
    await cluster.deploy(replicas=2)
    await cluster.eventually(lambda: len(targets(cluster)) == 2)
    labels = {"topology.kubernetes.io/zone": "east"}
    await cluster.client.patch(NODES, "", "node-0", {"metadata": {"labels": labels}})

    def hints() -> set[tuple[str | None, str]]:
        return {
            (each.node_name, each.hints.for_zones[0].name)
            for slice_ in slices(cluster)
            for each in slice_.endpoints
            if each.hints is not None
        }

    await cluster.eventually(lambda: hints() == {("node-0", "east")})


async def test_services_without_a_selector_are_left_alone_and_their_endpoints_mirrored(cluster: Cluster) -> None:
    bare = {"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}}
    await cluster.client.create(SERVICES, "default", bare)
    subsets = [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "ports": [{"port": 5432}]}]
    await cluster.client.create(ENDPOINTS, "default", {"metadata": {"name": "db"}, "subsets": subsets})
    await cluster.eventually(lambda: [len(each.endpoints) for each in slices(cluster, "db", MIRROR)] == [2])
    (slice_,) = slices(cluster, "db", MIRROR)
    assert slice_.metadata.controller is not None
    assert slice_.metadata.controller.kind == "Endpoints"
    assert slices(cluster, "db") == []
    skip = {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}
    await cluster.client.patch(ENDPOINTS, "default", "db", skip)
    await cluster.eventually(lambda: not slices(cluster, "db", MIRROR))


async def test_a_new_leader_in_the_middle_of_a_rollout_doubles_nothing(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service())
    await cluster.deploy(replicas=12)
    await cluster.eventually(lambda: len(targets(cluster)) > 2)
    cluster.processes[0][1].cancel()
    await cluster.change(replicas=7)
    await cluster.controllers("second")
    await cluster.eventually(lambda: targets(cluster) == ready_names(cluster) and len(targets(cluster)) == 7)
    await cluster.settled(2)
    every = [each.addresses for slice_ in slices(cluster) for each in slice_.endpoints]
    assert len(every) == len(set(every)) == 7
    assert len(slices(cluster)) == 1


async def test_writes_that_were_not_answered_double_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The api does what it is asked, and the answer is lost, for every third write."""
    real, count = BusClient.create, itertools.count()

    async def create(self: BusClient, kind: Any, *arguments: Any, **options: Any) -> Any:
        made = await real(self, kind, *arguments, **options)
        if kind in {ENDPOINT_SLICES, ENDPOINTS} and next(count) % 3 == 0:
            raise UnavailableError("the answer is lost")
        return made

    monkeypatch.setattr(BusClient, "create", create)
    for name in ("web", "web2", "web3"):
        await cluster.client.create(SERVICES, "default", service(name))
    await cluster.deploy(replicas=3)
    await cluster.eventually(lambda: all(len(targets(cluster, name)) == 3 for name in ("web", "web2", "web3")))
    await cluster.settled(2)
    assert [len(slices(cluster, name)) for name in ("web", "web2", "web3")] == [1, 1, 1]


async def test_nothing_is_written_once_all_is_as_it_should_be(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, "default", service())
    await cluster.deploy(replicas=3)
    await cluster.eventually(lambda: len(targets(cluster)) == 3)
    await cluster.settled(2)
    changes: list[str] = []
    for kind in (ENDPOINTS, ENDPOINT_SLICES):
        cluster.informers.of(kind).on_change(lambda change: changes.append(change.item.name))
    before = len(changes)
    await cluster.settled(30)
    assert len(changes) == before
