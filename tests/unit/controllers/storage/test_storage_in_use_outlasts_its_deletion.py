"""Claims that pods use, volumes that are bound and classes that are named stay until they are let go of."""

from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.scheme import (
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTRIBUTES_CLASSES,
    Kind,
)

CLAIM: dict[str, Any] = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
VOLUME: dict[str, Any] = {
    "metadata": {"name": "disk"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": "disks.example.com", "volumeHandle": "disk-1"},
        "persistentVolumeReclaimPolicy": "Retain",
    },
}


def pod(name: str, volume: dict[str, Any]) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "busybox"}], "volumes": [{"name": "data", **volume}]}
    return {"metadata": {"name": name}, "spec": spec}


async def deleted_but_kept(cluster: Cluster, kind: Kind[Any], namespace: str, name: str) -> None:
    await cluster.client.delete(kind, namespace, name)
    await cluster.settled(1)
    assert (await cluster.client.get(kind, namespace, name)).metadata.deletion_timestamp


async def gone(cluster: Cluster, kind: Kind[Any], namespace: str, name: str) -> None:
    async def is_gone() -> bool:
        return not await cluster.exists(kind, namespace, name)

    await cluster.eventually(is_gone, 10)


async def test_a_claim_stays_until_its_last_pod_is_gone(cluster: Cluster) -> None:
    await cluster.client.create(PERSISTENT_VOLUME_CLAIMS, "default", CLAIM)
    for name in ("one", "two"):
        await cluster.client.create(PODS, "default", pod(name, {"persistentVolumeClaim": {"claimName": "data"}}))
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    patch = {"status": {"phase": "Succeeded"}}
    await cluster.client.patch(PODS, "default", "one", patch, subresource="status", strategic=True)
    await deleted_but_kept(cluster, PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await cluster.client.delete(PODS, "default", "two")
    await cluster.settled(1)
    assert await cluster.exists(PERSISTENT_VOLUME_CLAIMS, "default", "data")  # a pod that has ended uses it still
    await cluster.client.delete(PODS, "default", "one")
    await gone(cluster, PERSISTENT_VOLUME_CLAIMS, "default", "data")


async def test_a_pod_without_a_node_keeps_no_claim(cluster: Cluster) -> None:
    cluster.nodes.clear()
    await cluster.client.create(PERSISTENT_VOLUME_CLAIMS, "default", CLAIM)
    await cluster.client.create(PODS, "default", pod("waits", {"persistentVolumeClaim": {"claimName": "data"}}))
    await cluster.settled(0.5)
    await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await gone(cluster, PERSISTENT_VOLUME_CLAIMS, "default", "data")


async def test_a_claim_that_is_made_for_a_pod_counts_when_the_pod_owns_it(cluster: Cluster) -> None:
    template = {"spec": CLAIM["spec"]}
    await cluster.client.create(PODS, "default", pod("own", {"ephemeral": {"volumeClaimTemplate": template}}))
    await cluster.eventually(lambda: len(cluster.ready()) == 1)
    (running,) = cluster.ready()
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "own", "uid": running.metadata.uid, "controller": True}
    owned = {**CLAIM, "metadata": {"name": "own-data", "ownerReferences": [owner]}}
    await cluster.client.create(PERSISTENT_VOLUME_CLAIMS, "default", owned)
    await cluster.settled(0.5)
    await deleted_but_kept(cluster, PERSISTENT_VOLUME_CLAIMS, "default", "own-data")
    await cluster.client.delete(PODS, "default", "own")
    await gone(cluster, PERSISTENT_VOLUME_CLAIMS, "default", "own-data")


async def test_a_finalizer_that_was_taken_away_comes_back(cluster: Cluster) -> None:
    await cluster.client.create(PERSISTENT_VOLUME_CLAIMS, "default", CLAIM)
    await cluster.client.create(PERSISTENT_VOLUMES, "", VOLUME)
    await cluster.settled(0.5)
    for kind, namespace, name, finalizer in (
        (PERSISTENT_VOLUME_CLAIMS, "default", "data", "kubernetes.io/pvc-protection"),
        (PERSISTENT_VOLUMES, "", "disk", "kubernetes.io/pv-protection"),
    ):
        await cluster.client.patch(kind, namespace, name, {"metadata": {"finalizers": None}})
        await cluster.settled(1)
        assert (await cluster.client.get(kind, namespace, name)).metadata.finalizers == (finalizer,)


async def test_a_volume_stays_while_it_is_bound(cluster: Cluster) -> None:
    await cluster.client.create(PERSISTENT_VOLUMES, "", VOLUME)
    bound = {"status": {"phase": "Bound"}}
    await cluster.client.patch(PERSISTENT_VOLUMES, "", "disk", bound, subresource="status")
    await deleted_but_kept(cluster, PERSISTENT_VOLUMES, "", "disk")
    released = {"status": {"phase": "Released"}}
    await cluster.client.patch(PERSISTENT_VOLUMES, "", "disk", released, subresource="status")
    await gone(cluster, PERSISTENT_VOLUMES, "", "disk")


async def test_a_class_of_attributes_stays_while_it_is_named(cluster: Cluster) -> None:
    fast = {"metadata": {"name": "fast"}, "driverName": "disks.example.com", "parameters": {"iops": "500"}}
    await cluster.client.create(VOLUME_ATTRIBUTES_CLASSES, "", fast)
    spec = {**VOLUME["spec"], "volumeAttributesClassName": "fast"}
    await cluster.client.create(PERSISTENT_VOLUMES, "", {**VOLUME, "spec": spec})
    claim = {**CLAIM, "spec": {**CLAIM["spec"], "volumeAttributesClassName": "fast"}}
    await cluster.client.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)
    await cluster.settled(0.5)
    await deleted_but_kept(cluster, VOLUME_ATTRIBUTES_CLASSES, "", "fast")
    await cluster.client.delete(PERSISTENT_VOLUMES, "", "disk")
    await cluster.settled(1)
    assert await cluster.exists(VOLUME_ATTRIBUTES_CLASSES, "", "fast")
    await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await gone(cluster, VOLUME_ATTRIBUTES_CLASSES, "", "fast")


async def test_a_namespace_with_claims_in_use_is_emptied(cluster: Cluster) -> None:
    await cluster.client.create(NAMESPACES, "", {"metadata": {"name": "team"}})
    await cluster.client.create(PERSISTENT_VOLUME_CLAIMS, "team", CLAIM)
    await cluster.settled(0.5)
    await cluster.client.create(PODS, "team", pod("user", {"persistentVolumeClaim": {"claimName": "data"}}))
    await cluster.settled(1)
    assert cluster.pods.items("team")[0].object.status.phase == "Running"
    await cluster.client.delete(NAMESPACES, "", "team")
    await gone(cluster, NAMESPACES, "", "team")
