"""Real containers outlive their agent, move when their node is lost, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster
from manifests import container, pod
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(300)]

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(podman, namespace(podman))


def web(replicas: int) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod("web", container(FOREVER))["spec"]}
    content = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": content}


def ready(space: Space, count: int) -> bool:
    pods = [each for each in space.get("pods", "-l", "app=web") if "deletionTimestamp" not in each["metadata"]]
    return len(pods) == count and all(each["status"]["containerStatuses"][0]["ready"] for each in pods)


def ids(space: Space, node: str = "") -> dict[str, str]:
    """Return the containers' ids by pod."""
    return {
        each["metadata"]["name"]: each["status"]["containerStatuses"][0]["containerID"].removeprefix("podman://")
        for each in space.get("pods", "-l", "app=web")
        if node in {"", each["spec"]["nodeName"]}
    }


def alive(cluster: LocalCluster, node: str) -> set[str]:
    """Return the ids of the containers that have processes on a node."""
    return {group.name.removeprefix("libpod-") for group in cluster.control_groups(node)}


@contextmanager
def stopped(cluster: LocalCluster) -> Iterator[None]:
    """Keep the supervisor from restarting anything."""
    pid = cluster.report.pid.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_killed_container_restarts_and_a_deleted_pod_is_replaced(podman: LocalCluster, space: Space) -> None:
    space.apply(web(2))
    space.wait(lambda: ready(space, 2))
    killed, deleted = sorted(ids(space))
    before = space.container(killed)
    address = space.status(killed)["podIP"]
    (group, *_) = podman.control_groups(space.get("pod", killed)["spec"]["nodeName"], ids(space)[killed])
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):  # its sleeps come and go
            os.kill(int(pid), signal.SIGKILL)
    space.wait(lambda: space.container(killed)["restartCount"] == 1 and space.container(killed)["ready"])
    after = space.container(killed)
    assert after["containerID"] != before["containerID"]
    assert after["lastState"]["terminated"]["exitCode"] == 137
    assert space.status(killed)["podIP"] == address

    space.kubectl("delete", "pod", deleted)
    space.wait(lambda: ready(space, 2) and deleted not in ids(space))
    assert killed in ids(space)


def test_an_agent_that_is_killed_finds_its_containers_again(podman: LocalCluster, space: Space) -> None:
    space.apply(web(4))
    space.wait(lambda: ready(space, 4))
    before = ids(space)
    for node in ("node-1", "node-2"):
        killed = podman.kill(f"agent-{node}")
        podman.wait(lambda node=node, killed=killed: podman.restarted(f"agent-{node}", killed), what="agent restarted")
    # The agents are at work again: they start what is new.
    space.kubectl("scale", "deployment", "web", "--replicas=6")
    space.wait(lambda: ready(space, 6))
    after = ids(space)
    assert {name: after.get(name) for name in before} == before
    assert {space.container(name)["restartCount"] for name in after} == {0}
    assert set(after.values()) <= alive(podman, "node-1") | alive(podman, "node-2")


def test_what_ended_while_the_agent_was_away_is_noticed(podman: LocalCluster, space: Space) -> None:
    patient = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}]
    brief = pod("brief", container("sleep 3; exit 9"), node="node-1", restartPolicy="Never", tolerations=patient)
    space.apply(brief)
    space.wait(lambda: "running" in space.container("brief")["state"])
    running = space.container("brief")["containerID"].removeprefix("podman://")
    with stopped(podman):
        killed = podman.kill("agent-node-1")
        podman.wait(lambda: not killed.alive())
        podman.wait(lambda: not podman.control_groups("node-1", running), what="the container has ended")
    assert space.ended("brief", "Failed")["exitCode"] == 9


def test_a_node_that_shuts_down_ends_its_pods_by_their_priority(podman: LocalCluster, space: Space) -> None:
    staying = {"node": "node-2", "tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}
    space.apply(pod("plain", container(FOREVER), **staying))
    space.apply(pod("critical", container(FOREVER), priorityClassName="system-node-critical", **staying))
    space.wait(lambda: all("running" in space.container(each)["state"] for each in ("plain", "critical")))
    down = podman.kill("agent-node-2", signal.SIGPWR)
    ends = {name: space.ended(name, "Failed") for name in ("plain", "critical")}
    for name in ends:
        status = space.status(name)
        assert status["message"] == "Pod was terminated in response to imminent node shutdown."
        assert status["reason"] == "Terminated"
    assert ends["plain"]["exitCode"] == 0
    assert ends["plain"]["finishedAt"] <= ends["critical"]["finishedAt"]
    podman.wait(lambda: podman.restarted("agent-node-2", down), what="agent restarted")
    space.wait(lambda: node_is_ready(podman, "node-2"))
    assert {space.status(name)["phase"] for name in ends} == {"Failed"}


def node_is_ready(cluster: LocalCluster, node: str) -> bool:
    conditions = cluster.get("node", node)["status"]["conditions"]
    return {each["type"]: each["status"] for each in conditions}["Ready"] == "True"


def test_the_pods_of_a_lost_node_move_and_it_clears_up_when_it_returns(podman: LocalCluster, space: Space) -> None:
    space.apply(web(4))
    space.wait(lambda: ready(space, 4))
    lost = ids(space, "node-1")
    stayed = ids(space, "node-2")
    assert lost
    assert stayed
    with stopped(podman):
        killed = podman.kill("agent-node-1")
        podman.wait(lambda: not killed.alive())
        since = time.monotonic()
        space.wait(lambda: ready(space, 4) and len(ids(space, "node-2")) == 4, what="4 pods on node-2")
        took = time.monotonic() - since
        assert "NotReady" in podman.kubectl("get", "node", "node-1", "--no-headers")
        # Nobody told the node: its containers still run.
        assert set(lost.values()) <= alive(podman, "node-1")
    assert took < 30, f"the pods moved after {took:.0f} s"
    podman.wait(lambda: not alive(podman, "node-1") & set(lost.values()), what="node-1 has cleared up")
    podman.kubectl("wait", "node/node-1", "--for=condition=Ready", "--timeout=60s")
    after = ids(space)
    assert {name: after.get(name) for name in stayed} == stayed
    space.wait(lambda: not ids(space).keys() & lost.keys(), what="the lost pods are gone")
    # The node takes part again.
    space.kubectl("scale", "deployment", "web", "--replicas=12")
    space.wait(lambda: ready(space, 12) and ids(space, "node-1"))


def test_pages_are_served_across_nodes_and_deletion_leaves_nothing(podman: LocalCluster, space: Space) -> None:
    podman.wait(lambda: not pod_places(podman), what="what other tests left is cleared away")
    example = (Path(__file__).parents[2] / "examples/deployment.yaml").read_text()
    space.kubectl("apply", "-f", "-", stdin=example)
    space.kubectl("rollout", "status", "deployment/web-app", "--timeout=90s", timeout=100)
    pods = space.get("pods")
    assert {each["spec"]["nodeName"] for each in pods} == {"node-1", "node-2"}
    for each in pods:
        for node in ("node-1", "node-2"):
            page = podman.in_node(node, sys.executable, "-c", FETCH, f"http://{each['status']['podIP']}/")
            assert "Welcome to nginx!" in page
    told = space.kubectl("logs", "-l", "app=web", "--tail=-1")
    assert told.count('"GET / HTTP/1.1" 200') == 6
    space.kubectl("set", "image", "deployment/web-app", "nginx=nginx:stable")
    space.kubectl("rollout", "status", "deployment/web-app", "--timeout=90s", timeout=100)
    images = {each["spec"]["containers"][0]["image"] for each in space.get("pods")}
    assert "nginx:stable" in images
    space.kubectl("rollout", "undo", "deployment/web-app")
    space.kubectl("rollout", "status", "deployment/web-app", "--timeout=90s", timeout=100)
    space.kubectl("delete", "deployment", "web-app")
    podman.wait(lambda: not pod_places(podman), what="no container, namespace, interface or folder is left")
    assert [used for node in ("node-1", "node-2") for used in addresses(podman, node)] == []


def pod_places(cluster: LocalCluster) -> list[str]:
    """Return whatever there is of pods on the nodes: containers, network namespaces, interfaces, folders."""
    found = [path.name for path in Path("/run/netns").glob(f"orch-{cluster.name}-pod-*")]
    for node in ("node-1", "node-2"):
        found += [f"container {name}" for name in containers(cluster, node)]
        found += [str(path) for path in (cluster.layout.nodes / node / "pods").glob("*")]
        links = cluster.in_node(node, "ip", "-brief", "link", "show", "type", "veth").splitlines()
        found += [line for line in links if not line.startswith("fabric0")]
    return found


def containers(cluster: LocalCluster, node: str) -> list[str]:
    """Return all containers in a node's Podman, dead ones too."""
    root, run = cluster.layout.nodes / node / "podman", Path(f"/run/orch-{cluster.name}") / node
    folders = ("--root", root / "containers", "--runroot", run / "run", "--tmpdir", run / "tmp")
    environ = {**os.environ, "CONTAINERS_CONF": str(root / "containers.conf")}
    command = [str(part) for part in ("podman", *folders, "ps", "--all", "--quiet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=True)
    return done.stdout.split()


def addresses(cluster: LocalCluster, node: str) -> list[str]:
    """Return the pods' addresses that a node remembers as taken."""
    text = (cluster.layout.nodes / node / "addresses.json").read_text()
    return [word for word in text.replace('"', " ").split() if word.startswith("10.244.")]
