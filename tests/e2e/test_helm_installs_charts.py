"""Helm 4 installs, upgrades, rolls back and uninstalls a chart, waiting for what it made each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster, run

_TEMPLATES = {
    "config.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {image: "{{ .Values.image }}"}
""",
    "workload.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}", labels: {app.kubernetes.io/managed-by: "{{ .Release.Service }}"}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec:
      serviceAccountName: "{{ .Release.Name }}"
      containers:
        - {name: main, image: "{{ .Values.image }}", ports: [{containerPort: 80}]}
""",
    "rest.yaml": """
apiVersion: v1
kind: ServiceAccount
metadata: {name: "{{ .Release.Name }}"}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}"}
spec: {selector: {app: "{{ .Release.Name }}"}, ports: [{port: 80}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: "{{ .Release.Name }}"}
spec:
  maxReplicas: 5
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: "{{ .Release.Name }}"}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: "{{ .Release.Name }}"}
spec: {defaultBackend: {service: {name: "{{ .Release.Name }}", port: {number: 80}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: "{{ .Release.Name }}"}
spec: {minAvailable: 1, selector: {matchLabels: {app: "{{ .Release.Name }}"}}}
""",
    "hook.yaml": """
apiVersion: v1
kind: ConfigMap
metadata:
  name: "{{ .Release.Name }}-before"
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
""",
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "chart/templates").mkdir(parents=True)
    (tmp_path / "chart/Chart.yaml").write_text("{apiVersion: v2, name: web, version: 1.0.0}")
    (tmp_path / "chart/values.yaml").write_text("{replicas: 2, image: 'web:1'}")
    for name, text in _TEMPLATES.items():
        (tmp_path / "chart/templates" / name).write_text(text)
    return tmp_path / "chart"


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


@pytest.fixture
def helm(simulated: LocalCluster, space: str, client_programs: Path, tmp_path: Path) -> Callable[..., str]:
    folders = {f"HELM_{what}_HOME": str(tmp_path / what) for what in ("CACHE", "CONFIG", "DATA")}

    def helm(*arguments: str) -> str:
        argv = (client_programs / "helm", "--namespace", space, *arguments)
        return run(*argv, timeout=60, environ={**simulated.environ, **folders})

    return helm


def test_a_release_comes_changes_goes_back_and_goes(
    simulated: LocalCluster, space: str, helm: Callable[..., str], chart: Path
) -> None:
    def deployment() -> Any:
        return simulated.get("-n", space, "deployment", "web")

    def image() -> str:
        return deployment()["spec"]["template"]["spec"]["containers"][0]["image"]

    assert "STATUS: deployed" in helm("install", "web", str(chart), "--wait", "--timeout=30s")
    assert (deployment()["status"]["readyReplicas"], image()) == (2, "web:1")
    owners = {one["manager"]: one["operation"] for one in deployment()["metadata"].get("managedFields", ())}
    shown = simulated.kubectl("-n", space, "get", "deployment", "web", "-o", "json", "--show-managed-fields")
    owners = {one["manager"]: one["operation"] for one in json.loads(shown)["metadata"]["managedFields"]}
    assert owners["helm"] == "Apply", "Helm 4 applies on the server's side"

    helm("upgrade", "web", str(chart), "--set=replicas=3,image=web:2", "--wait", "--timeout=30s")
    assert (deployment()["status"]["readyReplicas"], image()) == (3, "web:2")
    helm("rollback", "web", "1", "--wait", "--timeout=30s")
    assert (deployment()["status"]["readyReplicas"], image()) == (2, "web:1")
    history = json.loads(helm("history", "web", "--output=json"))
    assert [one["status"] for one in history] == ["superseded", "superseded", "deployed"]

    helm("uninstall", "web", "--wait", "--timeout=30s")
    kinds = "deployments,services,ingresses,horizontalpodautoscalers,poddisruptionbudgets,pods"
    simulated.wait(lambda: simulated.get("-n", space, kinds) == [])
    assert json.loads(helm("list", "--output=json")) == []
