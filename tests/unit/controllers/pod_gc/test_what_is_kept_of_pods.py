"""What controllers keep of pods: what they read of them, and once what many share."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orch.objects.pods import Pod
from orch_controllers import kept_pods
from orch_controllers.kept_pods import KeptPods


def document(number: int) -> dict[str, Any]:
    token = {"name": f"kube-api-access-{number}", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": f"data-{number}"}}
    container = {
        "name": "main",
        "image": "web:1",
        "env": [{"name": "A", "value": "b"}],
        "ports": [{"name": "http", "containerPort": 80}],
        "resources": {"requests": {"cpu": "100m"}},
        "volumeMounts": [{"name": token["name"], "mountPath": "/var/run"}],
    }
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": True}
    moment = "2026-01-01T00:00:00Z"
    return {
        "metadata": {
            "name": f"web-{number}",
            "namespace": "default",
            "uid": f"uid-{number}",
            "labels": {"app": "web"},
            "ownerReferences": [owner],
            "finalizers": ["batch.kubernetes.io/job-tracking"],
        },
        "spec": {
            "nodeName": "node-1",
            "hostname": f"web-{number}",
            "containers": [container],
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}],
            "volumes": [token, claim],
            "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 3}],
            "activeDeadlineSeconds": 60,
            "priorityClassName": "high",
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number}",
            "podIPs": [{"ip": f"10.0.0.{number}"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": moment}],
            "containerStatuses": [
                {"name": "main", "restartCount": 2, "imageID": "sha", "state": {"terminated": {"exitCode": 3}}}
            ],
        },
    }


def pod(number: int) -> Pod:
    return msgspec.json.decode(msgspec.json.encode(document(number)), type=Pod)


def test_what_is_read_of_a_pod_is_as_it_was() -> None:
    whole, kept = pod(1), KeptPods()(pod(1))
    assert kept.metadata == whole.metadata
    for name in ("node_name", "hostname", "tolerations", "active_deadline_seconds", "priority_class_name"):
        assert getattr(kept.spec, name) == getattr(whole.spec, name)
    (container,), (whole_container,) = kept.spec.containers, whole.spec.containers
    for name in ("name", "image", "ports", "resources", "restart_policy"):
        assert getattr(container, name) == getattr(whole_container, name)
    assert kept.spec.init_containers[0].restart_policy == "Always"
    assert [each.name for each in kept.spec.volumes] == ["data"], "claims alone are asked about"
    for name in ("phase", "pod_ip", "pod_ips", "conditions"):
        assert getattr(kept.status, name) == getattr(whole.status, name)
    (status,) = kept.status.container_statuses
    assert status.restart_count == 2
    assert status.state.terminated is not None
    assert status.state.terminated.exit_code == 3


def test_pods_of_one_template_share_what_they_have_in_common() -> None:
    keep = KeptPods()
    one, two = keep(pod(1)), keep(pod(2))
    assert one.spec.containers is two.spec.containers
    assert one.spec.tolerations is two.spec.tolerations
    assert one.metadata.labels is two.metadata.labels
    assert one.metadata.owner_references is two.metadata.owner_references
    assert one.status.conditions[0] is two.status.conditions[0]
    assert (one.spec.hostname, two.spec.hostname) == ("web-1", "web-2")
    assert one.spec.volumes != two.spec.volumes


def test_things_of_different_sorts_that_say_nothing_are_not_mistaken_for_one_another() -> None:
    keep = KeptPods()
    empty: dict[str, Any] = {"metadata": {"name": "a"}, "spec": {}, "status": {"containerStatuses": [{}]}}
    kept = keep(msgspec.convert(empty, Pod))
    assert kept.status.container_statuses == (msgspec.convert(empty, Pod).status.container_statuses[0],)
    assert kept.metadata.labels == {}
    assert kept.metadata.annotations == {}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_pods, "_MOST", 20)
    keep = KeptPods()
    for number in range(100):
        assert keep(pod(number)).spec.hostname == f"web-{number}"
        assert len(keep._shared) <= 21
