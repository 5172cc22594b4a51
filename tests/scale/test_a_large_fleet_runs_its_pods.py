"""Many simulated nodes, many pods: everything comes up, stays up, is spread, and goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from local_cluster import LocalCluster
from rest import Rest

NAME = "fleet"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENT = f"/apis/apps/v1/namespaces/default/deployments/{NAME}"


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": NAME}
    container = {"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}


def status(rest: Rest) -> dict[str, Any]:
    return rest("GET", DEPLOYMENT).body["status"]


def scale(rest: Rest, replicas: int) -> None:
    patch = {"spec": {"replicas": replicas}}
    answer = rest("PATCH", f"{DEPLOYMENT}/scale", patch, content_type="application/merge-patch+json")
    assert answer.status == 200, answer.body


def pages(rest: Rest, path: str, limit: int) -> list[dict[str, Any]]:
    """List everything, page by page."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = rest("GET", path, limit=limit, **({"continue": token} if token else {})).body
        found += page["items"]
        token = page["metadata"].get("continue", "")
        if not token:
            return found


@pytest.mark.timeout(900)
def test_a_fleet(clusters: Callable[..., LocalCluster], request: pytest.FixtureRequest) -> None:
    nodes, replicas = request.config.getoption("--fleet"), request.config.getoption("--pods")
    cluster = clusters(nodes=nodes, runtime="simulated")
    cluster.up()
    rest = cluster.rest()
    pids = [each.pid for each in cluster.report.processes]
    assert len(pages(rest, "/api/v1/nodes", limit=100)) == nodes

    cluster.apply(deployment(replicas))
    cluster.wait(lambda: status(rest).get("availableReplicas") == replicas, timeout=300, what="all pods are available")
    pods = pages(rest, PODS, limit=150)
    assert len({pod["metadata"]["name"] for pod in pods}) == len(pods) == replicas
    assert len({pod["status"]["podIP"] for pod in pods}) == replicas
    placed = Counter(pod["spec"]["nodeName"] for pod in pods)
    assert len(placed) == min(nodes, replicas)
    assert max(placed.values()) - min(placed.values()) <= 1

    scale(rest, replicas // 2)
    cluster.wait(lambda: len(rest("GET", PODS).body["items"]) == replicas // 2, timeout=300, what="half are gone")
    scale(rest, 0)
    cluster.wait(lambda: not rest("GET", PODS).body["items"], timeout=300, what="no pod is left")

    ready = [
        condition["status"]
        for node in rest("GET", "/api/v1/nodes").body["items"]
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    assert ready == ["True"] * nodes
    assert [each.pid for each in cluster.report.processes] == pids, "a process was restarted"
    cluster.down("--purge")
