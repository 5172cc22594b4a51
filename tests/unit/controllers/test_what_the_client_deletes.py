from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Cluster

from orch.errors import ConflictError, NotFoundError
from orch.objects.pods import Pod
from orch.objects.scheme import PODS


async def bound_pod(cluster: Cluster) -> Pod:
    spec: dict[str, Any] = {"nodeName": "node-0", "containers": [{"name": "main", "image": "nginx:1"}]}
    await cluster.client.create(PODS, "default", {"metadata": {"name": "one"}, "spec": spec})
    await cluster.eventually(cluster.ready)
    return cluster.ready()[0]


async def test_a_bound_pod_is_marked_once_and_goes_when_its_node_says_so(cluster: Cluster) -> None:
    cluster.stops = lambda _: False
    pod = await bound_pod(cluster)
    await cluster.client.delete(PODS, "default", "one", uid=pod.metadata.uid)
    marked = await cluster.client.get(PODS, "default", "one")
    assert marked.metadata.deletion_timestamp
    await cluster.client.delete(PODS, "default", "one", uid=pod.metadata.uid)
    again = await cluster.client.get(PODS, "default", "one")
    assert again.metadata.resource_version == marked.metadata.resource_version

    await cluster.client.delete(PODS, "default", "one", grace_period=0)
    with pytest.raises(NotFoundError):
        await cluster.client.delete(PODS, "default", "one")


async def test_only_what_was_meant_is_deleted(cluster: Cluster) -> None:
    pod = await bound_pod(cluster)
    with pytest.raises(ConflictError):
        await cluster.client.delete(PODS, "default", "one", uid="another")
    with pytest.raises(ConflictError):
        await cluster.client.delete(PODS, "default", "one", uid=pod.metadata.uid, resource_version="1")
    assert not (await cluster.client.get(PODS, "default", "one")).metadata.deletion_timestamp
