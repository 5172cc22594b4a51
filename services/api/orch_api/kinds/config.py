"""ConfigMaps and Secrets: keys, sizes, immutability."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.kinds.fields import field
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, forbidden, immutable, invalid, required, same, too_long

MAX_SIZE: Final = 1024 * 1024


class ConfigMapStrategy(Strategy):
    """The rules of config maps."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the keys, or that the whole is larger than 1 MiB."""
        data: dict[str, str] = obj.get("data") or {}
        binary: dict[str, str] = obj.get("binaryData") or {}
        causes: list[Cause] = []
        size = 0
        for key, value in data.items():
            causes += check(f"data[{key}]", key, validation.config_key)
            if key in binary:
                causes.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += len(value) if value.isascii() else len(value.encode())
        for key, value in binary.items():
            causes += check(f"binaryData[{key}]", key, validation.config_key)
            size += decoded_size(value)
        if size > MAX_SIZE:
            causes.append(too_long("data", MAX_SIZE))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what changes in a map that was declared immutable."""
        return frozen_data(obj, old, ("data", "binaryData"))


def frozen_data(obj: Document, old: Document, fields: tuple[str, ...]) -> list[Cause]:
    """Return what changes although the object was declared immutable."""
    if not old.get("immutable"):
        return []
    causes: list[Cause] = []
    if not obj.get("immutable"):
        causes.append(forbidden("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden(name, "field is immutable when `immutable` is set")
        for name in fields
        if not same(obj.get(name), old.get(name))
    ]
    return causes


def decoded_size(value: str) -> int:
    """Return how many bytes a base64 text stands for."""
    return len(value) * 3 // 4 - value[-2:].count("=")


_DOCKER_CONFIG: Final = "kubernetes.io/dockerconfigjson"
_DOCKER_CFG: Final = "kubernetes.io/dockercfg"
_ACCOUNT_TOKEN: Final = "kubernetes.io/service-account-token"
_ACCOUNT_NAME: Final = "kubernetes.io/service-account.name"
_TLS_KEYS: Final = ("tls.crt", "tls.key")


class SecretStrategy(Strategy):
    """The rules of secrets."""

    def default(self, obj: Document) -> None:
        """Merge what was given as plain text into the data, and set the type."""
        if not obj.get("type"):
            obj["type"] = "Opaque"
        if plain := obj.pop("stringData", None):
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
            obj["data"] = (obj.get("data") or {}) | encoded

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the keys, what the type asks for, or that the whole is larger than 1 MiB."""
        data: dict[str, str] = obj.get("data") or {}
        causes: list[Cause] = []
        size = 0
        for key, value in data.items():
            causes += check(f"data[{key}]", key, validation.config_key)
            size += decoded_size(value)
        if size > MAX_SIZE:
            causes.append(too_long("data", MAX_SIZE))
        return causes + _type_rules(obj, data)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what changes in the type, or in a secret that was declared immutable."""
        causes = [] if obj.get("type") == old.get("type") else [immutable("type", obj.get("type") or "")]
        return causes + frozen_data(obj, old, ("data",))


def _type_rules(obj: Document, data: dict[str, str]) -> list[Cause]:
    kind: str = obj.get("type") or ""
    if kind == _ACCOUNT_TOKEN:
        annotations = section(section(obj, "metadata"), "annotations")
        return [] if annotations.get(_ACCOUNT_NAME) else [required(f"metadata.annotations[{_ACCOUNT_NAME}]")]
    if kind in {_DOCKER_CFG, _DOCKER_CONFIG}:
        return _docker_config(".dockerconfigjson" if kind == _DOCKER_CONFIG else ".dockercfg", data)
    if kind == "kubernetes.io/basic-auth":
        given = data.keys() & {"username", "password"}
        return [] if given else [required("data[username]"), required("data[password]")]
    if kind == "kubernetes.io/ssh-auth":
        return [] if data.get("ssh-privatekey") else [required("data[ssh-privatekey]")]
    if kind == "kubernetes.io/tls":
        return [required(f"data[{key}]") for key in _TLS_KEYS if key not in data]
    return []


def _docker_config(key: str, data: dict[str, str]) -> list[Cause]:
    at = f"data[{key}]"
    if key not in data:
        return [required(at)]
    try:
        json.loads(base64.b64decode(data[key]))
    except (binascii.Error, ValueError) as problem:
        return [invalid(at, "<secret contents redacted>", str(problem))]
    return []


def _entries(*fields: str) -> Any:
    def cell(obj: Document, now: datetime) -> int:
        _ = now
        return sum(len(obj.get(name) or ()) for name in fields)

    return cell


RESOURCES: Final = (
    Resource(
        plural="configmaps",
        singular="configmap",
        kind="ConfigMap",
        short_names=("cm",),
        strategy=ConfigMapStrategy(),
        columns=(
            NAME,
            Column("Data", _entries("data", "binaryData"), type="integer", description="Number of entries."),
            AGE,
        ),
    ),
    Resource(
        plural="secrets",
        singular="secret",
        kind="Secret",
        strategy=SecretStrategy(),
        columns=(
            NAME,
            Column("Type", text("type"), description="What the secret is for."),
            Column("Data", _entries("data"), type="integer", description="Number of entries."),
            AGE,
        ),
        fields={"type": field("type")},
        sensitive=True,
    ),
)
