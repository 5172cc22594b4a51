"""Scheduling where there is not room for all: preemption, groups, gates, two schedulers, a leader that is killed.

One cluster for all of it, and one test after the other: each leaves the nodes empty.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from local_cluster import BIN, ROOT, LocalCluster
from overcommitment import overcommitted
from pod_ledger import PodLedger

GROUPS = ROOT / "deploy/crds/scheduling.x-k8s.io_podgroups.yaml"
NODES = 3


@pytest.fixture(scope="module")
def cluster(clusters: Callable[..., LocalCluster]) -> LocalCluster:
    made = clusters(nodes=NODES, runtime="simulated")
    made.up()
    made.kubectl("create", "priorityclass", "high", "--value=1000")
    made.kubectl("create", "priorityclass", "patient", "--value=500", "--preemption-policy=Never")
    made.kubectl("apply", "-f", str(GROUPS))
    return made


@pytest.fixture(scope="module")
def cpus(cluster: LocalCluster) -> int:
    """How many a node has."""
    return int(cluster.get("node", "node-1")["status"]["allocatable"]["cpu"])


@pytest.fixture
def space(cluster: LocalCluster) -> Iterator[str]:
    """A namespace, whose pods are gone before the next test begins."""
    cluster.kubectl("create", "namespace", "full")
    yield "full"
    cluster.kubectl("delete", "namespace", "full", "--wait=true", timeout=60)


def pod(name: str, cpu: str, **more: Any) -> dict[str, Any]:
    labels = more.pop("labels", {})
    container = {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1, **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture
def create(cluster: LocalCluster, space: str) -> Callable[..., None]:
    """Create many objects by one command."""

    def make(*documents: dict[str, Any]) -> None:
        text = "\n---\n".join(json.dumps(document) for document in documents)
        cluster.kubectl("create", "-n", space, "-f", "-", stdin=text, timeout=60)

    return make


@pytest.fixture
def pods(cluster: LocalCluster, space: str) -> Callable[[], dict[str, dict[str, Any]]]:
    return lambda: {found["metadata"]["name"]: found for found in cluster.get("pods", "-n", space)}


def node_of(found: dict[str, Any]) -> str:
    return str(found["spec"].get("nodeName", ""))


def message(found: dict[str, Any]) -> str:
    told = [each for each in found["status"].get("conditions", ()) if each["type"] == "PodScheduled"]
    return str(told[0].get("message", "")) if told else ""


def test_an_important_pod_takes_the_place_of_another(cluster, space, cpus, create, pods) -> None:
    create(*(pod(f"low-{number}", str(cpus)) for number in range(NODES)))
    cluster.wait(lambda: all(node_of(found) for found in pods().values()))
    create(pod("high", str(cpus), priorityClassName="high"), pod("never", str(cpus), priorityClassName="patient"))
    cluster.wait(lambda: node_of(pods()["high"]))
    now = pods()
    assert len(now) == NODES + 1  # one victim, and no more
    assert "nominatedNodeName" not in now["high"]["status"]
    assert message(now["never"]).endswith("preemption: not eligible due to preemptionPolicy=Never.")
    (event,) = cluster.get("events", "-n", space, "--field-selector=reason=Preempted")
    uid = now["high"]["metadata"]["uid"]
    assert event["message"] == f"Preempted by pod {uid} on node {node_of(now['high'])}"
    (victim,) = {f"low-{number}" for number in range(NODES)} - set(now)
    why = cluster.orch("explain", "pod", "high", "-n", space)
    assert f"Room      made on {node_of(now['high'])} at " in why
    assert f"{space}/{victim}" in why
    told = cluster.orch("explain", "pod", victim, "-n", space)
    assert f"gone; it was on {node_of(now['high'])}" in told
    assert f"Sent away  for {space}/high of priority 1000; its own is 0" in told
    again = cluster.orch("replay", "decisions", "--preemptions")
    assert "identical, byte for byte" in again
    assert f"{space}/high" in again
    assert f"{space}/{victim}" in again


def test_a_group_starts_whole(cluster, space, cpus, create, pods) -> None:
    label = {"scheduling.x-k8s.io/pod-group": "g"}
    group = {
        "apiVersion": "scheduling.x-k8s.io/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": "g"},
        "spec": {"minMember": NODES},
    }
    create(group, pod("occupant", str(cpus)))
    cluster.wait(lambda: node_of(pods()["occupant"]))
    create(*(pod(f"member-{number}", str(cpus), labels=label) for number in range(NODES)))
    text = f"only {NODES - 1} of at least {NODES} pods of group {space}/g fit"
    cluster.wait(lambda: all(text in message(pods()[f"member-{number}"]) for number in range(NODES)))
    assert [name for name, found in pods().items() if node_of(found)] == ["occupant"]
    cluster.kubectl("delete", "pod", "occupant", "-n", space)
    cluster.wait(lambda: len({node_of(found) for found in pods().values()} - {""}) == NODES)
    cluster.wait(lambda: cluster.get("podgroup", "g", "-n", space)["status"]["phase"] == "Scheduled")


def test_a_gate_holds_a_pod_back(cluster, space, create, pods) -> None:
    create(pod("gated", "100m", schedulingGates=[{"name": "example.com/hold"}]), pod("plain", "100m"))
    cluster.wait(lambda: node_of(pods()["plain"]))
    assert "SchedulingGated" in cluster.kubectl("get", "pod", "gated", "-n", space)
    assert not node_of(pods()["gated"])
    patch = json.dumps({"spec": {"schedulingGates": None}})
    cluster.kubectl("patch", "pod", "gated", "-n", space, "-p", patch)
    cluster.wait(lambda: node_of(pods()["gated"]))


@contextmanager
def second_scheduler(cluster: LocalCluster, name: str) -> Iterator[None]:
    """Run a scheduler for pods of another schedulerName, as somebody would who wants two of them."""
    environ = {**os.environ, "ORCH_SCHEDULER_SCHEDULER_NAME": name, "ORCH_SCHEDULER_TELEMETRY__METRICS_ADDRESS": ""}
    log = cluster.state / "second.log"
    with log.open("w") as output:
        command = [BIN / "orch-scheduler", "--config", cluster.layout.config / "scheduler.yaml"]
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                process.kill()


def test_two_schedulers_do_not_promise_the_same_room(cluster, space, cpus, create, pods) -> None:
    cpu, room = 100, NODES * cpus * 1000 // 100
    count = room * 3 // 4
    with second_scheduler(cluster, "second"):
        create(pod("probe", "0", schedulerName="second"))
        cluster.wait(lambda: node_of(pods()["probe"]))
        create(
            *(
                pod(f"p{number}-{name}", f"{cpu}m", schedulerName=name)
                for number in range(count)
                for name in ("default-scheduler", "second")
            )
        )
        cluster.wait(lambda: all(node_of(found) or message(found) for found in pods().values()))
    found = list(pods().values())
    bound = [each for each in found if node_of(each) and each["metadata"]["name"] != "probe"]
    assert len(bound) <= room
    assert {each["spec"]["schedulerName"] for each in bound} == {"default-scheduler", "second"}
    assert overcommitted(found, cluster.get("nodes")) == []


def test_a_leader_that_is_killed_in_mid_batch_binds_nothing_twice(cluster, space, create, pods) -> None:
    ledger = PodLedger(cluster.rest(), space)
    with ledger.open():
        documents = [pod(f"p{number}", "10m") for number in range(90)]
        create(*documents[:30])
        was = cluster.kill("scheduler")
        create(*documents[30:])
        cluster.wait(lambda: cluster.restarted("scheduler", was))
        cluster.wait(lambda: all(node_of(found) for found in pods().values()) and len(pods()) == 90)
    assert all(len(life.nodes) == 1 for life in ledger.lives.values())
    assert overcommitted(pods().values(), cluster.get("nodes")) == []
