"""Why pods are where they are, what would be, and that recorded decisions come out again: on a running cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from local_cluster import LocalCluster

Space = Callable[[LocalCluster], str]


def deployment(name: str, replicas: int, cpu: str = "100m", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}},
        },
    }


def pod(name: str, cpu: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


@pytest.fixture
def space(simulated: LocalCluster, namespace: Space) -> str:
    return namespace(simulated)


@pytest.fixture
def apply(simulated: LocalCluster, space: str) -> Callable[..., str]:
    def make(*manifests: dict[str, Any]) -> str:
        return simulated.kubectl("apply", "-n", space, "-f", "-", stdin=yaml.safe_dump_all(manifests))

    return make


def running(cluster: LocalCluster, space: str, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        pods = cluster.get("pods", "-n", space)
        up = [each for each in pods if each["status"].get("phase") == "Running"]
        return up if len(up) == len(pods) == count else []

    return cluster.wait(found, what=f"{count} running pods")


def message_of(cluster: LocalCluster, space: str, name: str) -> str:
    conditions = cluster.get("pod", name, "-n", space)["status"].get("conditions", [])
    return next((each.get("message", "") for each in conditions if each["type"] == "PodScheduled"), "")


def test_a_placed_pod_is_explained_and_still_when_it_is_gone(simulated, space, apply):
    apply(pod("here", "100m"))
    (there,) = running(simulated, space, 1)
    node = there["spec"]["nodeName"]
    text = simulated.orch("explain", "pod", "here", "-n", space)
    assert f"State     on {node} (Running)" in text
    assert "NodeResourcesFit" in text
    found = json.loads(simulated.orch("explain", "pod", "here", "-n", space, "-o", "json"))
    assert found["decision"]["node"] == node
    assert found["decision"]["nodes"] == 3
    assert {each["node"] for each in found["decision"]["best"]} == {"node-1", "node-2", "node-3"}
    simulated.kubectl("delete", "pod", "here", "-n", space)
    assert f"gone; it was on {node}" in simulated.orch("explain", "pod", "here", "-n", space)
    assert 'orch: pods "never" not found' in simulated.orch("explain", "pod", "never", "-n", space, check=False)


def test_a_pending_pod_is_explained_rule_by_rule(simulated, space, apply):
    """The words of the event, the condition and the command; each names the rules with counts, as Kubernetes does."""
    apply(pod("first", "1500m", nodeSelector={"kubernetes.io/hostname": "node-1"}))
    running(simulated, space, 1)
    apply(pod("second", "1500m", nodeSelector={"kubernetes.io/hostname": "node-1"}))
    reasons = "1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector"
    preemption = "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling"
    message = f"0/3 nodes are available: {reasons}. preemption: 0/3 nodes are available: {preemption}."
    simulated.wait(lambda: message_of(simulated, space, "second") == message, what=message)
    field = "involvedObject.name=second"

    def told() -> bool:
        events = simulated.get("events", "-n", space, "--field-selector", field)
        return message in [event["message"] for event in events]

    simulated.wait(told, what="the event")
    text = simulated.orch("explain", "pod", "second", "-n", space)
    assert f"0/3 nodes are available: {reasons}." in text
    assert "unschedulable" in text
    found = json.loads(simulated.orch("explain", "pod", "second", "-n", space, "-o", "json"))
    assert {(each["rule"], each["nodes"]) for each in found["now"]["refused"]} == {
        ("NodeAffinity", 2),
        ("NodeResourcesFit", 1),
    }
    assert any(each["rule"] == "NodeResourcesFit" and each["names"] == ["node-1"] for each in found["remedies"])
    assert found["decision"]["message"] == message


def test_why_not_another_node(simulated, space, apply):
    apply(pod("here", "100m", nodeSelector={"kubernetes.io/hostname": "node-2"}))
    running(simulated, space, 1)
    text = simulated.orch("why-not", "pod", "here", "node-1", "-n", space)
    assert "1 rule refuses it" in text
    assert "NodeAffinity" in text
    assert "but it is there" in simulated.orch("why-not", "pod", "here", "node-2", "-n", space)
    assert 'orch: nodes "nowhere" not found' in simulated.orch(
        "why-not", "pod", "here", "nowhere", "-n", space, check=False
    )
    apply(pod("free", "100m"))
    (free,) = [each for each in running(simulated, space, 2) if each["metadata"]["name"] == "free"]
    other = next(name for name in ("node-1", "node-2", "node-3") if name != free["spec"]["nodeName"])
    found = json.loads(simulated.orch("why-not", "pod", "free", other, "-n", space, "-o", "json"))
    assert found["feasible"] == 3
    assert found["score"]["node"] == other


def test_what_if_changes_nothing(simulated, space, tmp_path):
    manifest = tmp_path / "web.yaml"
    manifest.write_text(yaml.safe_dump(deployment("web", 3, cpu="500m")))
    found = json.loads(simulated.orch("what-if", "-f", str(manifest), "-n", space, "-o", "json"))
    (outcome,) = found["outcomes"]
    assert (outcome["replicas"], outcome["placed"]) == (3, 3)
    assert sum(outcome["nodes"].values()) == 3
    assert outcome["fit"] >= 3
    assert outcome["next"]["message"].startswith("0/3 nodes are available: ")
    text = simulated.orch("what-if", "-f", str(manifest), "-n", space, "--replicas", "500", check=False)
    assert "of 500" in text
    assert "more on any of 3 nodes" in text
    assert simulated.get("pods,deployments", "-n", space) == []
    manifest.write_text(yaml.safe_dump(pod("odd", "many")))
    refused = simulated.orch("what-if", "-f", str(manifest), "-n", space, check=False)
    assert "spec.containers[0].resources.requests" in refused


def test_what_the_cluster_decided_comes_out_again(simulated, space, apply, tmp_path):
    apply(deployment("many", 12))
    running(simulated, space, 12)
    apply(pod("huge", "900"))
    simulated.wait(lambda: message_of(simulated, space, "huge"), what="a refusal")
    simulated.kubectl("scale", "deployment", "many", "-n", space, "--replicas", "4")
    simulated.wait(lambda: len(simulated.get("pods", "-n", space)) == 5, what="fewer pods")
    kept = tmp_path / "recording"

    def recorded() -> dict[str, Any]:
        said = simulated.orch("replay", "decisions", "--save", str(kept), "-o", "json")
        report = json.loads(said)
        return report if report["decisions"] >= 13 else {}

    report = simulated.wait(recorded, what="13 recorded decisions")
    assert "difference" not in report
    assert report["published"] >= 13
    assert "identical, byte for byte" in simulated.orch("replay", "decisions", "--file", str(kept))
    nothing = json.loads(simulated.orch("replay", "decisions", "--from", "0s", "-o", "json"))
    assert nothing.get("decisions", 0) == 0


def test_nodes_are_emptied_by_evictions(simulated, space, apply):
    """The plan is shown, carried out, and the pods run on fewer nodes than before."""
    simulated.wait(
        lambda: all(each["metadata"]["namespace"] == space for each in simulated.get("pods", "--all-namespaces")),
        timeout=90,
        what="a quiet cluster",
    )
    apply(deployment("web", 3, cpu="200m", terminationGracePeriodSeconds=0))
    before = {each["spec"]["nodeName"] for each in running(simulated, space, 3)}
    assert len(before) == 3

    def planned() -> dict[str, Any]:
        plan = json.loads(simulated.orch("rebalance", "--dry-run", "-o", "json"))
        return plan if len(plan["moves"]) == 2 else {}

    plan = simulated.wait(planned, what="a plan of two moves")
    assert len(plan["emptied"]) == 2
    assert {each["owner"].split("/")[0] for each in plan["moves"]} == {"ReplicaSet"}
    assert {each["spec"]["nodeName"] for each in running(simulated, space, 3)} == before
    said = simulated.orch("rebalance", "--apply", "--uncordon", timeout=100)
    assert "[2/2]" in said
    assert len({each["spec"]["nodeName"] for each in running(simulated, space, 3)}) == 1
    assert not any(node["spec"].get("unschedulable") for node in simulated.get("nodes"))
    said = simulated.orch("rebalance", "--apply", "--goal", "spread", timeout=100)
    assert "by 0% after" in said
    assert len({each["spec"]["nodeName"] for each in running(simulated, space, 3)}) == 3
