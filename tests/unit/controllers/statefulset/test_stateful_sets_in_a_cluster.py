"""Stateful sets beside all other controllers: claims that go or stay, words that people read, pods of lost nodes."""

from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS

LABELS = {"app": "web"}


def stateful_set(replicas: int, **spec: Any) -> dict[str, Any]:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    containers = [{"name": "main", "image": "web:1"}]
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": containers, "terminationGracePeriodSeconds": 5},
            },
            "volumeClaimTemplates": [claim],
            **spec,
        },
    }


async def names(cluster: Cluster) -> list[str]:
    claims = await cluster.client.list(PERSISTENT_VOLUME_CLAIMS, "default")
    return sorted(each.metadata.name for each in claims)


async def test_claims_go_with_pods_that_are_not_wanted_and_stay_with_those_that_are(cluster: Cluster) -> None:
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    body = stateful_set(3, persistentVolumeClaimRetentionPolicy=policy)
    await cluster.client.create(STATEFUL_SETS, "default", body)
    await cluster.eventually(lambda: len(cluster.ready()) == 3)
    assert await names(cluster) == ["data-web-0", "data-web-1", "data-web-2"]
    await cluster.client.patch(STATEFUL_SETS, "default", "web", {"spec": {"replicas": 1}})

    async def shrunk() -> bool:
        return await names(cluster) == ["data-web-0"]

    await cluster.eventually(shrunk)
    await cluster.client.delete(STATEFUL_SETS, "default", "web", propagation="Background")
    await cluster.eventually(lambda: not cluster.pods.items("default"))
    await cluster.settled()
    assert await names(cluster) == ["data-web-0"], "it is retained"
    told = {(each.reason, each.message) for each in await cluster.told("SuccessfulCreate", "SuccessfulDelete")}
    assert ("SuccessfulCreate", "create Claim data-web-0 Pod web-0 in StatefulSet web success") in told
    assert ("SuccessfulCreate", "create Pod web-0 in StatefulSet web successful") in told
    assert ("SuccessfulDelete", "delete Pod web-2 in StatefulSet web successful") in told


async def test_a_pod_of_a_lost_node_is_not_replaced_until_it_has_gone(cluster: Cluster) -> None:
    await cluster.client.create(STATEFUL_SETS, "default", stateful_set(2, podManagementPolicy="Parallel"))
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    lost = cluster.active()[0]
    cluster.silent.add(lost.spec.node_name)
    await cluster.eventually(lambda: lost.metadata.name not in {pod.metadata.name for pod in cluster.active()})
    await cluster.settled(2)
    item = cluster.pods.get("default", lost.metadata.name)
    assert item is not None
    assert item.uid == lost.metadata.uid, "two of one number would share a claim"
    cluster.silent.clear()
    await cluster.treat_all()
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
