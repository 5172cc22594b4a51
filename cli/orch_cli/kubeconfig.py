"""Writes the kubeconfig of a local cluster, complete in itself: certificates and key are embedded."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from orch_cli.pki import KeyPair, write_private


def write_kubeconfig(path: Path, *, cluster: str, server: str, admin: KeyPair) -> None:
    """Write a kubeconfig that opens `server` to the administrator. Nothing is merged into the user's own."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": _embed(admin.authority)}}
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": _embed(admin.certificate),
                    "client-key-data": _embed(admin.key),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "admin"}}],
        "current-context": cluster,
    }
    write_private(path, yaml.safe_dump(content, sort_keys=False).encode())


def opens_with(path: Path, admin: KeyPair) -> bool:
    """Say whether a kubeconfig holds the administrator's certificate as it is now."""
    try:
        return _embed(admin.certificate) in path.read_text()
    except FileNotFoundError:
        return False


def _embed(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
