"""EncryptionConfigurations for tests."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

IDENTITY: dict[str, Any] = {"identity": {}}


def secret(length: int = 32) -> str:
    return base64.b64encode(os.urandom(length)).decode()


def aesgcm(*names: str, secrets: dict[str, str] | None = None) -> dict[str, Any]:
    known = secrets if secrets is not None else {}
    return {"aesgcm": {"keys": [{"name": name, "secret": known.setdefault(name, secret())} for name in names]}}


def secretbox(*names: str) -> dict[str, Any]:
    return {"secretbox": {"keys": [{"name": name, "secret": secret()} for name in names]}}


def kms(endpoint: str, name: str = "vault") -> dict[str, Any]:
    return {"kms": {"apiVersion": "v2", "name": name, "endpoint": endpoint, "timeout": "5s"}}


def document(*providers: dict[str, Any], resources: tuple[str, ...] = ("secrets",)) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(resources), "providers": list(providers)}],
    }


def put(file: Path, content: object) -> Path:
    """Put a configuration in place in one step, as `orch secrets rotate` does."""
    scratch = file.with_name(f"{file.name}.new")
    scratch.write_text(yaml.safe_dump(content))
    scratch.replace(file)
    return file
