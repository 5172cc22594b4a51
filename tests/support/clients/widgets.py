"""An operator, written with kopf as users write them: every Widget has a ConfigMap that says its size."""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes


@kopf.on.startup()
def log_in(**_: Any) -> None:
    kubernetes.config.load_kube_config()


@kopf.on.create("example.com", "v1", "widgets")
def create(spec: Any, name: str, namespace: str, **_: Any) -> dict[str, str]:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"size": str(spec["size"])}}
    kopf.adopt(body)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, body)
    return {"settings": name}


@kopf.on.field("example.com", "v1", "widgets", field="spec.size")
def resize(old: Any, new: Any, name: str, namespace: str, **_: Any) -> None:
    if old is not None:
        patch = {"data": {"size": str(new)}}
        kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, patch)


@kopf.on.delete("example.com", "v1", "widgets")
def delete(name: str, namespace: str, **_: Any) -> None:
    body = {"metadata": {"name": f"{name}-was-here"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, body)
