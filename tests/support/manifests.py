"""Manifests of pods for tests with real containers; nobody waits long for them to end."""

from __future__ import annotations

from typing import Any

BUSYBOX = "docker.io/library/busybox:latest"
NGINX = "docker.io/library/nginx:latest"


def container(script: str, *, name: str = "main", **fields: Any) -> dict[str, Any]:
    """Return a container that runs a shell script."""
    return {"name": name, "image": BUSYBOX, "command": ["sh", "-c", script], **fields}


def pod(name: str, *containers: dict[str, Any], node: str = "", **spec: Any) -> dict[str, Any]:
    """Return a pod; with `node`, one that is bound from the start."""
    place = {"nodeName": node} if node else {}
    content = {"terminationGracePeriodSeconds": 1, "containers": list(containers), **place, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": content}


def config_map(name: str, **data: str) -> dict[str, Any]:
    """Return a config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> dict[str, Any]:
    """Return a secret, its values given in clear."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
