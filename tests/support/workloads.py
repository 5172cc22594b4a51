"""Deployments, replica sets and pods as views, for tests of rules that are functions of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from orch.clock import rfc3339
from orch.objects.apps import Deployment, DeploymentStatus, ReplicaSet
from orch.objects.meta import Condition
from orch.objects.pods import Pod

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    return rfc3339(NOW - timedelta(seconds=seconds))


def deployment(
    replicas: int | None = 3,
    *,
    surge: int | str | None = None,
    unavailable: int | str | None = None,
    image: str = "nginx:1",
    annotations: dict[str, str] | None = None,
    status: DeploymentStatus | None = None,
    generation: int = 1,
    **spec: Any,
) -> Deployment:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {k: v for k, v in rolling.items() if v is not None}}
    body = {
        "metadata": {
            "name": "web",
            "namespace": "default",
            "uid": "deployment",
            "generation": generation,
            "annotations": annotations or {},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy,
            "template": template(image),
            **spec,
        },
    }
    made = msgspec.json.decode(msgspec.json.encode(body), type=Deployment)
    return msgspec.structs.replace(made, status=status) if status is not None else made


def template(image: str = "nginx:1", labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": image}]}
    return {"metadata": {"labels": labels or {"app": "web"}}, "spec": spec}


def replica_set(
    name: str = "web-1",
    size: int | None = 3,
    *,
    available: int | None = None,
    there: int | None = None,
    created: int = 0,
    image: str = "nginx:1",
    annotations: dict[str, str] | None = None,
    generation: int = 1,
    observed: int | None = None,
    conditions: tuple[Condition, ...] = (),
) -> ReplicaSet:
    """Return a replica set; `created` orders them, the larger the younger. Unless said, all is as it wants it."""
    replicas = (1 if size is None else size) if there is None else there
    body = {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "generation": generation,
            "creationTimestamp": ago(1000 - created),
            "annotations": annotations or {},
        },
        "spec": {"replicas": size, "template": template(image, {"app": "web", "pod-template-hash": name})},
        "status": {
            "replicas": replicas,
            "readyReplicas": replicas if available is None else available,
            "availableReplicas": replicas if available is None else available,
            "observedGeneration": generation if observed is None else observed,
            "conditions": msgspec.to_builtins(conditions),
        },
    }
    return msgspec.json.decode(msgspec.json.encode(body), type=ReplicaSet)


def pod(
    name: str = "pod",
    *,
    node: str = "node-1",
    phase: str = "Running",
    ready_for: float | None = 100,
    age: float = 1000,
    cost: str = "",
    restarts: int = 0,
    sidecar_restarts: int = 0,
) -> Pod:
    conditions = []
    if ready_for is not None:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": ago(ready_for)})
    body = {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": ago(age),
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost} if cost else {},
        },
        "spec": {"nodeName": node, "initContainers": [{"name": "side", "restartPolicy": "Always"}]},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"name": "main", "restartCount": restarts}],
            "initContainerStatuses": [{"name": "side", "restartCount": sidecar_restarts}],
        },
    }
    return msgspec.json.decode(msgspec.json.encode(body), type=Pod)
