"""What objects use of a quota, which objects a quota is about, and a quota's status as they come and go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cluster import Cluster, template
from workloads import NOW, ago

from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch.objects.quota import ResourceQuotaSpec
from orch.objects.scheme import CONFIG_MAPS, PODS, RESOURCE_QUOTAS, SERVICES
from orch.objects.storage import PersistentVolumeClaim
from orch.quotas import pending
from orch.quotas.amounts import of_claim, of_pod, of_service
from orch.quotas.scopes import claim_matches, pod_matches, requirements


def resources(**both: dict[str, str]) -> dict[str, Any]:
    return {"name": "c", "image": "nginx:1", "resources": both}


def pod(*containers: dict[str, Any], init: list[dict[str, Any]] | None = None, **spec: Any) -> Pod:
    status = spec.pop("status", {"qosClass": "Burstable"})
    meta = spec.pop("metadata", {})
    found = {"containers": list(containers), "initContainers": init or [], **spec}
    return msgspec.convert({"metadata": meta, "spec": found, "status": status}, Pod)


def shown(amounts: Any) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items()}


SMALL = resources(requests={"cpu": "100m", "memory": "64Mi"}, limits={"cpu": "1", "memory": "128Mi"})


@pytest.mark.parametrize(
    ("asking", "used"),
    [
        (pod({"name": "c"}), {"pods": "1"}),
        (
            pod(SMALL, SMALL),
            {
                "pods": "1",
                "cpu": "200m",
                "requests.cpu": "200m",
                "memory": "128Mi",
                "requests.memory": "128Mi",
                "limits.cpu": "2",
                "limits.memory": "256Mi",
            },
        ),
        (
            pod(resources(requests={"cpu": "1"}), init=[resources(requests={"cpu": "3"})]),
            {"pods": "1", "cpu": "3", "requests.cpu": "3"},
        ),
        (
            pod(
                resources(requests={"cpu": "1"}),
                init=[
                    {**resources(requests={"cpu": "1"}), "restartPolicy": "Always"},
                    resources(requests={"cpu": "2"}),
                ],
            ),
            {"pods": "1", "cpu": "3", "requests.cpu": "3"},
        ),
        (
            pod(resources(requests={"example.com/gpu": "2", "hugepages-2Mi": "4Mi"})),
            {
                "pods": "1",
                "requests.example.com/gpu": "2",
                "hugepages-2Mi": "4Mi",
                "requests.hugepages-2Mi": "4Mi",
            },
        ),
        (
            pod(resources(requests={"cpu": "1"}), overhead={"cpu": "250m"}),
            {"pods": "1", "cpu": "1250m", "requests.cpu": "1250m"},
        ),
        (
            pod(resources(requests={"cpu": "1"}), resources={"requests": {"cpu": "5"}}),
            {"pods": "1", "cpu": "5", "requests.cpu": "5"},
        ),
        (pod(SMALL, status={"phase": "Succeeded"}), {}),
        (pod(SMALL, status={"phase": "Failed"}), {}),
        (pod(SMALL, metadata={"deletionTimestamp": ago(40), "deletionGracePeriodSeconds": 30}), {}),
    ],
)
def test_what_pods_use(asking: Pod, used: dict[str, str]) -> None:
    assert shown(of_pod(asking, NOW)) == used


def test_a_pod_that_ends_in_time_still_counts() -> None:
    ending = pod(SMALL, metadata={"deletionTimestamp": ago(10), "deletionGracePeriodSeconds": 30})
    assert shown(of_pod(ending, NOW))["pods"] == "1"


@pytest.mark.parametrize(
    ("spec", "has_ports", "used"),
    [
        ({}, True, {"services": "1"}),
        ({"type": "NodePort"}, True, {"services": "1", "services.nodeports": "2"}),
        (
            {"type": "LoadBalancer"},
            True,
            {"services": "1", "services.nodeports": "2", "services.loadbalancers": "1"},
        ),
        (
            {"type": "LoadBalancer"},
            False,
            {"services": "1", "services.nodeports": "1", "services.loadbalancers": "1"},
        ),
    ],
)
def test_what_services_use(spec: dict[str, Any], has_ports: bool, used: dict[str, str]) -> None:
    body = {"spec": {"ports": [{"port": 1, "nodePort": 30001}, {"port": 2}], **spec}}
    assert shown(of_service(msgspec.convert(body, Service), has_node_ports=has_ports)) == used


def test_what_claims_use() -> None:
    body = {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "3Gi"}}}}
    assert shown(of_claim(msgspec.convert(body, PersistentVolumeClaim))) == {
        "persistentvolumeclaims": "1",
        "requests.storage": "3Gi",
        "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "fast.storageclass.storage.k8s.io/requests.storage": "3Gi",
    }


def selector(scope: str, operator: str, *values: str) -> dict[str, Any]:
    return {"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}}


TERM = {"topologyKey": "zone", "namespaces": ["other"]}
FAR = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}
NEAR = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}


@pytest.mark.parametrize(
    ("spec", "counted", "left_out"),
    [
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, {}),
        ({"scopes": ["NotTerminating"]}, {}, {"activeDeadlineSeconds": 5}),
        ({"scopes": ["BestEffort"]}, {"status": {"qosClass": "BestEffort"}}, {}),
        ({"scopes": ["NotBestEffort"]}, {}, {"status": {"qosClass": "BestEffort"}}),
        ({"scopes": ["NotBestEffort", "Terminating"]}, {"activeDeadlineSeconds": 5}, {}),
        ({"scopes": ["CrossNamespacePodAffinity"]}, {"affinity": FAR}, {"affinity": NEAR}),
        ({"scopes": ["PriorityClass"]}, {"priorityClassName": "high"}, {}),
        (selector("PriorityClass", "In", "high"), {"priorityClassName": "high"}, {"priorityClassName": "low"}),
        (selector("PriorityClass", "NotIn", "high"), {"priorityClassName": "low"}, {"priorityClassName": "high"}),
        (selector("PriorityClass", "DoesNotExist"), {}, {"priorityClassName": "high"}),
        (selector("Terminating", "Exists"), {"activeDeadlineSeconds": 0}, {}),
    ],
)
def test_scopes(spec: dict[str, Any], counted: dict[str, Any], left_out: dict[str, Any]) -> None:
    wanted = requirements(msgspec.convert(spec, ResourceQuotaSpec))
    assert pod_matches(pod(SMALL, **counted), wanted)
    assert not pod_matches(pod(SMALL, **left_out), wanted)
    assert not claim_matches(PersistentVolumeClaim(), wanted), "scopes of pods are none of claims"


def test_scopes_of_claims() -> None:
    wanted = requirements(msgspec.convert(selector("VolumeAttributesClass", "In", "gold"), ResourceQuotaSpec))
    claim = msgspec.convert({"spec": {"volumeAttributesClassName": "gold"}}, PersistentVolumeClaim)
    assert claim_matches(claim, wanted)
    assert not claim_matches(PersistentVolumeClaim(), wanted)
    assert not pod_matches(pod(SMALL), wanted)


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=6), st.lists(st.integers(0, 4000), max_size=3))
def test_requests_are_the_sum_or_the_largest_start(main: list[int], init: list[int]) -> None:
    def asking(amounts: list[int]) -> list[dict[str, Any]]:
        return [resources(requests={"cpu": f"{amount}m"}) for amount in amounts]

    used = of_pod(pod(*asking(main), init=asking(init)), NOW)
    assert used["cpu"].milli == max(sum(main), *init, 0)


async def used(cluster: Cluster, name: str) -> dict[str, str]:
    return (await cluster.client.get(RESOURCE_QUOTAS, "default", name)).status.used


def asking(cpu: str) -> dict[str, Any]:
    """Return a template whose container says what it asks for, as a quota wants it."""
    made = template("web", "nginx:1")
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return made


async def test_what_is_charged_counts_until_its_object_is_seen(cluster: Cluster) -> None:
    """What admission notes on the quota is used, although nobody sees the object yet, and for a while only."""
    name, at = "default", cluster.clock.now().timestamp()
    await cluster.client.create(RESOURCE_QUOTAS, name, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}})
    waited = [
        pending.Charge("pods", "late", "uid-of-late", 0, at, {"pods": "1"}),
        pending.Charge("pods", "lost", "uid-of-lost", 0, at - pending.PATIENCE, {"pods": "1"}),
    ]
    patch = {"metadata": {"annotations": {pending.ANNOTATION: pending.write(waited)}}}
    await cluster.client.patch(RESOURCE_QUOTAS, name, "q", patch)

    async def is_used(pods: str, noted: int) -> None:
        async def holds() -> bool:
            quota = await cluster.client.get(RESOURCE_QUOTAS, name, "q")
            return quota.status.used == {"pods": pods} and len(pending.read(quota.metadata.annotations)) == noted

        await cluster.eventually(holds, 40)

    await is_used("1", 1)
    await is_used("0", 0)


async def test_the_status_follows_what_comes_and_goes(cluster: Cluster) -> None:
    hard = {"pods": "5", "requests.cpu": "2", "services": "3", "configmaps": "9", "count/deployments.apps": "4"}
    await cluster.client.create(RESOURCE_QUOTAS, "default", {"metadata": {"name": "all"}, "spec": {"hard": hard}})
    low = {"metadata": {"name": "low"}, "spec": {"hard": {"pods": "5"}, "scopes": ["BestEffort"]}}
    await cluster.client.create(RESOURCE_QUOTAS, "default", low)

    async def settles(name: str, **amounts: str) -> None:
        async def holds() -> bool:
            found = await used(cluster, name)
            return {key: found.get(key.replace("_", ".")) for key in amounts} == amounts

        await cluster.eventually(holds, 10)

    await settles("all", pods="0", requests_cpu="0", services="1")
    status = (await cluster.client.get(RESOURCE_QUOTAS, "default", "all")).status
    assert status.hard == hard
    body = {"metadata": {"name": "a"}, "spec": {"containers": [SMALL], "nodeName": "node-0"}}
    await cluster.client.create(PODS, "default", body)
    await cluster.client.create(SERVICES, "default", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    await cluster.client.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}})
    await cluster.deploy(replicas=1, template=asking("100m"))
    await settles("all", pods="2", requests_cpu="200m", services="2", configmaps="1")
    await settles("low", pods="0")
    assert (await used(cluster, "all"))["count/deployments.apps"] == "1"
    await cluster.client.delete(PODS, "default", "a")
    await settles("all", pods="1", requests_cpu="100m")
    patch = {"spec": {"hard": {"configmaps": None, "pods": "7"}}}
    await cluster.client.patch(RESOURCE_QUOTAS, "default", "all", patch)

    async def is_told() -> bool:
        found = (await cluster.client.get(RESOURCE_QUOTAS, "default", "all")).status
        return found.hard.get("pods") == "7" and "configmaps" not in found.used | found.hard

    await cluster.eventually(is_told, 10)
