"""Claims that wait for their first pod: the scheduler says where, and binds the pod once they have volumes."""

from __future__ import annotations

import pytest

from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from orch_scheduler.storage import SELECTED_NODE

CLAIMS = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}


@pytest.fixture
def add_class(client):
    async def add(name, provisioner):
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": provisioner,
            "volumeBindingMode": "WaitForFirstConsumer",
        }
        await client.create(STORAGE_CLASSES, "", body)

    return add


@pytest.fixture
def add_claim(client):
    async def add(name, cls):
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {
                "storageClassName": cls,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        return await client.create(PERSISTENT_VOLUME_CLAIMS, "default", body)

    return add


@pytest.fixture
def add_volume(client):
    async def add(name, cls, node):
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "storageClassName": cls,
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "2Gi"},
                "local": {"path": "/data"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            },
        }
        await client.create(PERSISTENT_VOLUMES, "", body)
        available = {"status": {"phase": "Available"}}
        await client.patch(PERSISTENT_VOLUMES, "", name, available, subresource="status")

    return add


async def bind_claim(client, volume):
    """Do what the controller of volumes does."""
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "default", "data", {"spec": {"volumeName": volume}})
    status = {"status": {"phase": "Bound"}}
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "default", "data", status, subresource="status")


async def test_a_volume_of_the_node_is_promised_to_the_claim(
    scheduler, client, add_node, add_pod, add_class, add_claim, add_volume, bound, eventually
):
    await add_class("local", "kubernetes.io/no-provisioner")
    for name in ("a", "b"):
        await add_node(name, labels={"kubernetes.io/hostname": name})
    await add_volume("on-b", "local", "b")
    claim = await add_claim("data", "local")
    pod = await add_pod("p", **CLAIMS)

    async def promised():
        reference = (await client.get(PERSISTENT_VOLUMES, "", "on-b")).spec.claim_ref
        return reference is not None and reference.uid == claim.metadata.uid

    await eventually(promised)
    assert not pod.spec.node_name
    await bind_claim(client, "on-b")
    assert await bound("p") == "b"


async def test_a_claim_says_on_which_node_its_volume_shall_be_made(
    scheduler, client, add_node, add_pod, add_class, add_claim, bound, eventually
):
    await add_class("made", "csi.example.com")
    await add_node("a")
    await add_claim("data", "made")
    await add_pod("p", **CLAIMS)

    async def selected():
        claim = await client.get(PERSISTENT_VOLUME_CLAIMS, "default", "data")
        return claim.metadata.annotations.get(SELECTED_NODE)

    assert await eventually(selected) == "a"
    waiting = await client.get(PODS, "default", "p")
    assert (waiting.spec.node_name, waiting.status.nominated_node_name) == ("", "a")
    assert len(scheduler._nominations) == 0  # its place is taken as it is
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "fresh"},
        "spec": {
            "storageClassName": "made",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "csi": {"driver": "csi.example.com", "volumeHandle": "x"},
        },
    }
    await client.create(PERSISTENT_VOLUMES, "", body)
    await bind_claim(client, "fresh")
    assert await bound("p") == "a"


async def test_without_its_claim_a_pod_waits_and_says_so(scheduler, add_node, add_pod, add_class, add_claim, condition):
    await add_node("a")
    await add_pod("p", **CLAIMS)
    words = '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    await condition("p", words + " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")


async def test_a_pod_whose_claim_goes_while_it_waits_is_expected_nowhere(
    scheduler, client, add_node, add_pod, add_class, add_claim, eventually
):
    await add_class("made", "csi.example.com")
    await add_node("a")
    await add_claim("data", "made")
    await add_pod("p", **CLAIMS)

    async def expected_at():
        return (await client.get(PODS, "default", "p")).status.nominated_node_name or "nowhere"

    async def expected():
        return await expected_at() == "a"

    await eventually(expected)
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")

    async def no_more():
        return await expected_at() == "nowhere"

    await eventually(no_more)
