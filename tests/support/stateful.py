"""Stateful sets, daemon sets, their pods and nodes as views, for tests of rules that are functions of them."""

from __future__ import annotations

from typing import Any

import msgspec
from workloads import ago

from orch.objects.apps import DaemonSet, StatefulSet
from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch.objects.storage import PersistentVolumeClaim

LABELS = {"app": "web"}


def view(body: Any, type_: Any) -> Any:
    """Return a document as a view."""
    return msgspec.json.decode(msgspec.json.encode(body), type=type_)


def template(image: str = "web:1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": image}], **spec}}


def stateful_set(replicas: int | None = 3, *, status: dict[str, Any] | None = None, **spec: Any) -> StatefulSet:
    body = {
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 2},
        "spec": {
            "replicas": replicas,
            "serviceName": "svc",
            "selector": {"matchLabels": LABELS},
            "template": template(),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            **spec,
        },
        "status": status or {},
    }
    return view(body, StatefulSet)


def rolling(partition: int = 0, unavailable: int | str = 1) -> dict[str, Any]:
    update = {"partition": partition, "maxUnavailable": unavailable}
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": update}}


def claim_template(name: str = "data", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def pod(
    name: str,
    state: str = "ready",
    *,
    revision: str = "new",
    ready_for: float = 100,
    age: float = 1000,
    node: str = "node-1",
    **meta: Any,
) -> Pod:
    """Return a pod: ready, running (not ready), pending, leaving (ready, being deleted), Failed or Succeeded."""
    phase = {"ready": "Running", "leaving": "Running", "running": "Running", "pending": "Pending"}.get(state, state)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": ago(ready_for)}
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "creationTimestamp": ago(age),
        "labels": {
            **LABELS,
            "controller-revision-hash": revision,
            "statefulset.kubernetes.io/pod-name": name,
        },
        **({"deletionTimestamp": ago(0)} if state == "leaving" else {}),
        **meta,
    }
    conditions = [ready] if state in {"ready", "leaving"} else []
    body = {
        "metadata": metadata,
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions},
    }
    return view(body, Pod)


def claim(name: str, *owners: tuple[str, str, str], controller: bool = True) -> PersistentVolumeClaim:
    """Return a claim with owners, each given as its kind, name and uid."""
    versions = {"Pod": "v1", "StatefulSet": "apps/v1"}
    refs = [
        {
            "apiVersion": versions.get(kind, "x/v1"),
            "kind": kind,
            "name": owner,
            "uid": uid,
            "controller": controller,
        }
        for kind, owner, uid in owners
    ]
    return view({"metadata": {"name": name, "uid": name, "ownerReferences": refs}}, PersistentVolumeClaim)


def daemon_set(
    unavailable: int | str = 1, surge: int | str = 0, *, spec: dict[str, Any] | None = None, **fields: Any
) -> DaemonSet:
    update = {"maxUnavailable": unavailable, "maxSurge": surge}
    body = {
        "metadata": {"name": "agent", "namespace": "default", "uid": "daemon", "generation": 2},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": template(**(spec or {})),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": update},
            **fields,
        },
    }
    return view(body, DaemonSet)


def node(name: str = "node-1", *taints: tuple[str, str], **labels: str) -> Node:
    """Return a node with labels and taints, each taint given as its key and effect."""
    found = [{"key": key, "effect": effect} for key, effect in taints]
    return view({"metadata": {"name": name, "labels": labels}, "spec": {"taints": found}}, Node)
