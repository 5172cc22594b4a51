"""Daemon sets beside all other controllers: nodes that come and go, and words that people read."""

from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.apps import DaemonSetStatus
from orch.objects.scheme import DAEMON_SETS, NODES

LABELS = {"app": "agent"}


def daemon_set(**spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "agent:1"}]
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 5},
    }
    return {"metadata": {"name": "agent"}, "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec}}


async def status(cluster: Cluster) -> DaemonSetStatus:
    return (await cluster.client.get(DAEMON_SETS, "default", "agent")).status


async def test_nodes_get_their_pod_when_they_come_and_none_is_left_when_they_go(cluster: Cluster) -> None:
    await cluster.client.create(DAEMON_SETS, "default", daemon_set())

    async def serving() -> int:
        return (await status(cluster)).number_available

    async def on(count: int) -> bool:
        return await serving() == count

    await cluster.eventually(lambda: on(2))
    await cluster.add_node("node-2")
    await cluster.eventually(lambda: on(3))
    cluster.nodes.remove("node-2")
    await cluster.client.delete(NODES, "", "node-2")
    await cluster.eventually(lambda: on(2), 120)
    await cluster.eventually(lambda: len(cluster.pods.items("default")) == 2, 120)
    found = await status(cluster)
    assert (found.desired_number_scheduled, found.current_number_scheduled) == (2, 2)
    reasons = {(each.source["component"], each.reason) for each in await cluster.told("SuccessfulCreate")}
    assert ("daemonset-controller", "SuccessfulCreate") in reasons


async def test_a_failed_pod_is_told_of_and_replaced(cluster: Cluster) -> None:
    await cluster.client.create(DAEMON_SETS, "default", daemon_set())
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    failed = cluster.active()[0]
    await cluster.report(failed, ready=False, phase="Failed")
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    meta = failed.metadata
    message = f"Found failed daemon pod default/{meta.name} on node {failed.spec.node_name}, will try to kill it"

    async def told() -> bool:
        found = {(each.type, each.reason, each.message) for each in await cluster.events()}
        return ("Warning", "FailedDaemonPod", message) in found

    await cluster.eventually(told)
