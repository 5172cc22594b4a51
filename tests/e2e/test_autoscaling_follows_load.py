"""Autoscaling of simulated pods whose load is scripted by annotations, as people see it through kubectl and orch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster
from space import Space

LOAD = "simulated.orch.dev/cpu"


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    simulated.kubectl("create", "namespace", "autoscaling")
    yield Space(simulated, "autoscaling")
    simulated.kubectl("delete", "namespace", "autoscaling", "--wait=false")


def deployment(name: str, **annotations: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "nginx:1",
        "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}},
    }
    template = {
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def replicas(space: Space, name: str) -> int:
    return space.get("deployment", name)["spec"]["replicas"]


def conditions(space: Space, name: str) -> dict[str, tuple[str, str]]:
    found = space.get("hpa", name)["status"].get("conditions", ())
    return {one["type"]: (one["status"], one["reason"]) for one in found}


def load(space: Space, name: str, amount: str) -> None:
    space.kubectl("annotate", "pods", "-l", f"app={name}", f"{LOAD}={amount}", "--overwrite")


def test_pods_come_with_the_load_and_go_after_it(space: Space, tmp_path: Path) -> None:
    orch: Callable[..., str] = space.cluster.orch
    space.apply(deployment("web"))
    space.kubectl("autoscale", "deployment", "web", "--cpu=50%", "--min=1", "--max=6")
    window = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}}
    space.kubectl("patch", "hpa", "web", "--type=merge", "-p", json.dumps(window))
    space.wait(lambda: conditions(space, "web").get("ScalingActive") == ("True", "ValidMetricFound"), 30)
    lines = space.kubectl("get", "hpa").splitlines()
    assert lines[0].split() == ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"]
    assert lines[1].split()[:6] == ["web", "Deployment/web", "cpu:", "5%/50%", "1", "6"]

    load(space, "web", "380m")
    space.wait(lambda: replicas(space, "web") == 4, 15, "the load is answered")
    space.wait(lambda: space.get("deployment", "web")["status"].get("readyReplicas") == 4, 15)
    space.wait(lambda: "380m" in space.kubectl("top", "pods"), 15)

    load(space, "web", "2m")
    space.wait(lambda: replicas(space, "web") == 1, 30, "the load went")
    described = space.kubectl("describe", "hpa", "web")
    assert "New size: 4; reason: cpu resource utilization (percentage of request) above target" in described
    assert "reason: All metrics below target" in described
    assert "NotScaledToZero" in described

    shown = json.loads(orch("explain", "hpa", "web", "-n", space.name, "-o", "json"))
    changes = [(one["before"], one["after"]) for one in shown["changes"]]  # by steps, if nodes told one by one
    assert (changes[0][0], max(after for _, after in changes), changes[-1][1]) == (1, 4, 1)
    assert "SuccessfulRescale" not in orch("explain", "hpa", "web", "-n", space.name)
    recording = tmp_path / "recording"
    replayed = orch("replay", "autoscaling", "--from", "10m", "--save", str(recording))
    assert "identical, byte for byte" in replayed
    assert "identical, byte for byte" in orch("replay", "autoscaling", "--file", str(recording))
    space.wait(lambda: "deployment/web" in orch("recommend", "-n", space.name), 40, "use is known")
    (advice,) = json.loads(orch("recommend", "deployment", "web", "-n", space.name, "-o", "json"))["workloads"]
    assert [one["container"] for one in advice["containers"]] == ["main"]


def test_curves_are_followed_by_themselves(space: Space) -> None:
    space.apply(deployment("curve", **{LOAD: "0s=50m,6s=150m"}))
    space.kubectl("autoscale", "deployment", "curve", "--cpu=50%", "--min=1", "--max=2")
    space.wait(lambda: replicas(space, "curve") == 2, 40, "the curve rises")
    assert conditions(space, "curve")["AbleToScale"][0] == "True"


def test_what_is_wrong_is_said(space: Space) -> None:
    bare = deployment("bare")
    del bare["spec"]["template"]["spec"]["containers"][0]["resources"]
    space.apply(bare)
    space.kubectl("autoscale", "deployment", "bare", "--cpu=50%", "--max=3")
    space.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "lost"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "lost"},
                "maxReplicas": 3,
            },
        }
    )
    space.wait(lambda: conditions(space, "lost").get("AbleToScale") == ("False", "FailedGetScale"), 20)
    space.wait(lambda: "missing request for cpu" in space.kubectl("describe", "hpa", "bare"), 30)
    assert conditions(space, "bare")["ScalingActive"] == ("False", "FailedGetResourceMetric")
