"""How kubectl changes objects: labels, the kinds of patch, edit, replace, apply, scale, rollouts, cordon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster
from rollout import deployment


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


@pytest.fixture
def kubectl(simulated: LocalCluster, space: str) -> Callable[..., str]:
    return lambda *arguments, **options: simulated.kubectl("-n", space, *arguments, **options)


@pytest.fixture
def web(simulated: LocalCluster, kubectl: Callable[..., str], space: str) -> Callable[[], Any]:
    """A Deployment of three pods; returns what reads it."""
    kubectl("apply", "-f", "-", stdin=json.dumps(deployment(3, 1)))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    return lambda: simulated.get("-n", space, "deployment", "web")


def test_labels_and_annotations(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    kubectl("label", "deployment", "web", "tier=front", "team=a")
    kubectl("annotate", "deployment", "web", "about=testing")
    refused = kubectl("label", "deployment", "web", "tier=back", check=False)
    assert "'tier' already has a value (front), and --overwrite is false" in refused
    kubectl("label", "deployment", "web", "tier=back", "--overwrite")
    kubectl("label", "deployment", "web", "team-")
    metadata = web()["metadata"]
    assert metadata["labels"] == {"tier": "back"}
    assert metadata["annotations"]["about"] == "testing"
    # As in Kubernetes, a Deployment's generation counts its annotations, which its ReplicaSets get, but not its labels.
    assert metadata["generation"] == 2


def test_each_kind_of_patch(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    def containers() -> list[dict[str, Any]]:
        return web()["spec"]["template"]["spec"]["containers"]

    def patch(kind: str, content: object) -> None:
        kubectl("patch", "deployment", "web", f"--type={kind}", "-p", json.dumps(content))

    side = {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}
    patch("strategic", {"spec": side})
    assert {each["name"] for each in containers()} == {"main", "side"}
    patch("strategic", {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}})
    assert [each["name"] for each in containers()] == ["main"]
    patch("json", [{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "b", "image": "b"}}])
    assert [each["name"] for each in containers()] == ["main", "b"]
    patch("merge", {"spec": side})
    assert [each["name"] for each in containers()] == ["side"]
    patch("json", [{"op": "test", "path": "/spec/replicas", "value": 3}, {"op": "remove", "path": "/spec/replicas"}])
    assert web()["spec"]["replicas"] == 1
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_the_status_is_a_place_of_its_own(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"status": {"collisionCount": 7}}')
    assert "collisionCount" not in web()["status"]
    kubectl("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec": {"replicas": 2}}')
    assert web()["spec"]["replicas"] == 2
    assert json.loads(kubectl("get", "deployment", "web", "--subresource=scale", "-o", "json"))["kind"] == "Scale"


def test_edit(simulated: LocalCluster, kubectl: Callable[..., str], tmp_path: Path) -> None:
    kubectl("create", "configmap", "edited", "--from-literal=a=before")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/before/after/ "$1"\n')
    editor.chmod(0o700)
    told = kubectl("edit", "configmap", "edited", environ={"KUBE_EDITOR": str(editor)})
    assert told == "configmap/edited edited\n"
    assert kubectl("get", "configmap", "edited", "-o", "jsonpath={.data.a}") == "after"
    told = kubectl("edit", "configmap", "edited", environ={"KUBE_EDITOR": str(editor)})
    assert told == "Edit cancelled, no changes made.\n"


def test_replace_and_apply(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    shown = web()
    shown["spec"]["minReadySeconds"] = 1
    kubectl("replace", "-f", "-", stdin=json.dumps(shown))
    assert web()["spec"]["minReadySeconds"] == 1
    wanted = deployment(3, 1)
    assert "configured" in kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
    assert web()["spec"].get("minReadySeconds", 0) == 0
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    told = kubectl("diff", "-f", "-", stdin=json.dumps(wanted), check=False)
    assert "+        - name: A" in told
    assert "configured" in kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
    del wanted["spec"]["template"]["spec"]["containers"][0]["env"]
    kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
    assert "env" not in web()["spec"]["template"]["spec"]["containers"][0]
    # A forced replace is another object.
    uid = web()["metadata"]["uid"]
    kubectl("replace", "--force", "-f", "-", stdin=json.dumps(wanted))
    assert web()["metadata"]["uid"] != uid


def test_a_dry_run_changes_nothing(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    before = web()
    kubectl("scale", "deployment", "web", "--replicas=9", "--dry-run=server")
    kubectl("delete", "deployment", "web", "--dry-run=server")
    kubectl("create", "configmap", "dry", "--dry-run=server")
    assert web() == before
    assert "NotFound" in kubectl("get", "configmap", "dry", check=False)


def test_scale_and_rollouts(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    def done() -> None:
        kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    refused = kubectl("scale", "deployment", "web", "--replicas=5", "--current-replicas=2", check=False)
    assert "Expected replicas to be 2, was 3" in refused
    kubectl("scale", "deployment", "web", "--replicas=5")
    done()
    assert web()["status"]["readyReplicas"] == 5
    kubectl("set", "image", "deployment/web", "main=web:2")
    done()
    kubectl("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "main=web:3")
    kubectl("set", "env", "deployment/web", "A=1")
    assert "paused" in kubectl("rollout", "history", "deployment/web", check=False) or web()["spec"]["paused"]
    kubectl("rollout", "resume", "deployment/web")
    done()
    # Both changes are one revision.
    assert [line.split()[0] for line in kubectl("rollout", "history", "deployment/web").splitlines()[2:5]] == [*"123"]
    kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    done()
    container = web()["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container.get("env")) == ("web:1", None)
    kubectl("rollout", "restart", "deployment/web")
    done()
    assert "kubectl.kubernetes.io/restartedAt" in web()["spec"]["template"]["metadata"]["annotations"]
    assert web()["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "5"


def test_a_rollout_that_does_not_progress_says_so(kubectl: Callable[..., str], web: Callable[[], Any]) -> None:
    stuck = {"progressDeadlineSeconds": 1, "template": {"spec": {"nodeSelector": {"no": "node"}}}}
    kubectl("patch", "deployment", "web", "-p", json.dumps({"spec": stuck}))
    told = kubectl("rollout", "status", "deployment/web", "--timeout=60s", check=False)
    assert 'deployment "web" exceeded its progress deadline' in told
    assert web()["status"]["readyReplicas"] == 3
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_a_cordoned_node_gets_no_pods(simulated: LocalCluster, kubectl: Callable[..., str], space: str) -> None:
    kubectl("cordon", "node-1")
    try:
        assert kubectl("get", "node", "node-1", "--no-headers").split()[1] == "Ready,SchedulingDisabled"
        kubectl("create", "deployment", "web", "--image=web:1", "--replicas=6")
        kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        nodes = {pod["spec"]["nodeName"] for pod in simulated.get("-n", space, "pods")}
        assert nodes == {"node-2", "node-3"}
    finally:
        kubectl("uncordon", "node-1")
    kubectl("scale", "deployment", "web", "--replicas=12")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "node-1" in {pod["spec"]["nodeName"] for pod in simulated.get("-n", space, "pods")}
