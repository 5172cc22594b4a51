"""`orch up` with Podman: nodes that are apart, the README's Deployment, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orch_cli.process import start_ticks

pytestmark = pytest.mark.podman

Make = Callable[..., Any]
DEPLOYMENT = (Path(__file__).parents[2] / "examples/deployment.yaml").read_text()
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def nothing_left(cluster: Any) -> bool:
    return not any(cluster.traces().values())


def pods(cluster: Any) -> list[dict[str, Any]]:
    return cluster.get("pods", "-l", "app=web")


def running(cluster: Any) -> bool:
    statuses = [pod["status"] for pod in pods(cluster)]
    return len(statuses) == 3 and all(
        status["phase"] == "Running" and status["containerStatuses"][0]["ready"] for status in statuses
    )


@pytest.mark.timeout(300)
def test_a_deployment_runs_is_resumed_and_leaves_nothing(clusters: Make, image_mirror: Path) -> None:
    cluster = clusters(nodes=2, runtime="podman", mirror=image_mirror)
    cluster.up()
    cluster.apply(DEPLOYMENT)
    cluster.wait(lambda: running(cluster), timeout=90, what="3 pods running")
    by_node = {pod["spec"]["nodeName"]: pod["status"]["podIP"] for pod in pods(cluster)}
    assert set(by_node) == {"node-1", "node-2"}
    assert by_node["node-1"].startswith("10.244.1.")
    assert by_node["node-2"].startswith("10.244.2.")
    # Each node reaches the pods of both.
    for node in by_node:
        for address in by_node.values():
            page = cluster.in_node(node, sys.executable, "-c", FETCH, f"http://{address}/")
            assert "Welcome to nginx!" in page

    # A supervisor that is killed takes no container with it; the next one finds them as they are.
    started = {pod["metadata"]["name"]: container_start(pod) for pod in pods(cluster)}
    killed = cluster.report.pid
    subprocess.run(["kill", "-KILL", str(killed.pid)], check=True)
    cluster.wait(lambda: not start_ticks(killed.pid))
    cluster.up()
    cluster.wait(lambda: running(cluster), what="the pods are adopted")
    assert {pod["metadata"]["name"]: container_start(pod) for pod in pods(cluster)} == started

    # An exec's monitor outlives it by minutes; it must not outlive the cluster.
    cluster.kubectl("exec", pods(cluster)[0]["metadata"]["name"], "--", "true")

    # Down ends all containers, and up starts the pods again: they are the cluster's state.
    cluster.down()
    assert nothing_left(cluster), cluster.traces()
    cluster.up()
    cluster.wait(lambda: running(cluster) and restarted(cluster, started), timeout=90, what="the pods run again")

    cluster.down()
    assert nothing_left(cluster), cluster.traces()
    assert cluster.layout.nodes.exists()
    # The way to purge is the same whether the cluster was up or not.
    cluster.down("--purge")
    assert not cluster.state.exists()


def container_start(pod: dict[str, Any]) -> str:
    return pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]


def restarted(cluster: Any, started: dict[str, str]) -> bool:
    return all(container_start(pod) != started.get(pod["metadata"]["name"]) for pod in pods(cluster))


def test_nodes_share_the_machine_between_them(podman: Any) -> None:
    capacities = [node["status"]["capacity"] for node in podman.get("nodes")]
    assert len({(each["cpu"], each["memory"]) for each in capacities}) == 1
    total = int(Path("/proc/meminfo").read_text().split()[1])
    assert sum(int(each["memory"].removesuffix("Ki")) for each in capacities) <= total


def test_nothing_leaves_a_node_but_to_its_peers(podman: Any) -> None:
    routes = podman.in_node("node-1", "ip", "route", "show").splitlines()
    assert not any(route.startswith("default") for route in routes)
    assert {"blackhole 10.244.0.0/16", "blackhole 10.96.0.0/16"} <= {route.strip() for route in routes}
    assert any(route.startswith("10.244.2.0/24 via 10.245.0.12") for route in routes)
    host = subprocess.run(["ip", "route", "show"], capture_output=True, text=True, check=True).stdout
    assert "blackhole 10.244.0.0/16" in host
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert "fabric0" not in links


def test_an_image_that_the_mirror_lacks_is_asked_for_nowhere_else(podman: Any, namespace: Callable[[Any], str]) -> None:
    space = namespace(podman)
    podman.kubectl("-n", space, "run", "lost", "--image=docker.io/library/no-such-image:1")
    podman.wait(
        lambda: "10.245.0.1:5000/library/no-such-image" in podman.kubectl("-n", space, "describe", "pod", "lost"),
        what="an event that names the mirror",
    )


def test_enter_refuses_what_is_not_a_node(podman: Any, simulated: Any) -> None:
    assert "there is no node 'node-9'; there are node-1, node-2" in podman.orch("enter", "node-9", check=False)
    assert "simulated nodes have no network" in simulated.orch("enter", "node-1", check=False)
