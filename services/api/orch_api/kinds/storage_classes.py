"""Classes of storage and of the attributes of volumes (k8s.io/kubernetes/pkg/apis/storage/validation)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, duplicate, forbidden, immutable, invalid, one_of, required, same, too_long

_GROUP: Final = "storage.k8s.io"
_RECLAIM_POLICIES: Final = ("Delete", "Retain")
_BINDING_MODES: Final = ("Immediate", "WaitForFirstConsumer")
_MAX_PARAMETERS: Final = 512
_MAX_PARAMETER_BYTES: Final = 256 * 1024
_DEFAULT_MARKS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


class StorageClassStrategy(Strategy):
    """The rules of storage classes."""

    def default(self, obj: Document) -> None:
        """Delete volumes with their claims, and make them at once."""
        if obj.get("reclaimPolicy") is None:
            obj["reclaimPolicy"] = "Delete"
        if obj.get("volumeBindingMode") is None:
            obj["volumeBindingMode"] = "Immediate"

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the class."""
        causes = _driver("provisioner", obj.get("provisioner") or "")
        causes += _parameters(obj)
        policy: str = obj.get("reclaimPolicy") or ""
        if policy:
            causes += one_of("reclaimPolicy", policy, _RECLAIM_POLICIES)
        mode: str = obj.get("volumeBindingMode") or ""
        causes += one_of("volumeBindingMode", mode, _BINDING_MODES)
        return causes + _topologies(obj.get("allowedTopologies") or [])

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change, as volumes were made by it."""
        causes = _unchanged(obj, old, "parameters", "provisioner", "reclaimPolicy")
        if obj.get("volumeBindingMode") != old.get("volumeBindingMode"):
            causes.append(immutable("volumeBindingMode", obj.get("volumeBindingMode")))
        return causes


class VolumeAttributesClassStrategy(Strategy):
    """The rules of classes of volume attributes."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the class."""
        causes = _driver("driverName", obj.get("driverName") or "") + _parameters(obj)
        if not obj.get("parameters"):
            causes.append(required("parameters", "must contain at least one key/value pair"))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change."""
        return _unchanged(obj, old, "driverName", "parameters")


def _unchanged(obj: Document, old: Document, *names: str) -> list[Cause]:
    return [
        forbidden(name, f"updates to {name} are forbidden.") for name in names if not same(obj.get(name), old.get(name))
    ]


def _driver(at: str, name: str) -> list[Cause]:
    if not name:
        return [required(at)]
    return check(at, name.lower(), validation.qualified_name)


def _parameters(obj: Document) -> list[Cause]:
    parameters: dict[str, str] = obj.get("parameters") or {}
    if len(parameters) > _MAX_PARAMETERS:
        return [too_long("parameters", _MAX_PARAMETERS)]
    causes = [invalid("parameters", "", "field can not be empty.")] if "" in parameters else []
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _MAX_PARAMETER_BYTES:
        causes.append(too_long("parameters", _MAX_PARAMETER_BYTES))
    return causes


def _topologies(terms: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    seen: list[dict[str, frozenset[str]]] = []
    for index, term in enumerate(terms):
        at = f"allowedTopologies[{index}].matchLabelExpressions"
        wanted: dict[str, frozenset[str]] = {}
        for place, requirement in enumerate(term.get("matchLabelExpressions") or ()):
            causes += _topology(f"{at}[{place}]", requirement)
            key: str = requirement.get("key") or ""
            if key in wanted:
                causes.append(duplicate(f"{at}[{place}].key", key))
            wanted[key] = frozenset(requirement.get("values") or ())
        if wanted in seen:
            causes.append(duplicate(at, ""))
        seen.append(wanted)
    return causes


def _topology(at: str, requirement: Document) -> list[Cause]:
    values: list[str] = requirement.get("values") or []
    causes = [] if values else [required(f"{at}.values")]
    causes += [
        duplicate(f"{at}.values[{index}]", value) for index, value in enumerate(values) if value in values[:index]
    ]
    return causes + check(f"{at}.key", requirement.get("key") or "", validation.qualified_name)


def _name(obj: Document, now: datetime) -> str:
    _ = now
    meta = section(obj, "metadata")
    annotations = section(meta, "annotations")
    name: str = meta.get("name") or ""
    return f"{name} (default)" if any(annotations.get(mark) == "true" for mark in _DEFAULT_MARKS) else name


def _expands(obj: Document, now: datetime) -> bool:
    _ = now
    return bool(obj.get("allowVolumeExpansion"))


RESOURCES: Final = (
    Resource(
        group=_GROUP,
        plural="storageclasses",
        singular="storageclass",
        kind="StorageClass",
        namespaced=False,
        short_names=("sc",),
        returns_deleted=True,
        strategy=StorageClassStrategy(),
        columns=(
            Column("Name", _name, format="name", description=NAME.description),
            Column("Provisioner", text("provisioner"), description="Who makes the volumes."),
            Column("ReclaimPolicy", text("reclaimPolicy", missing="Delete"), description="What follows release."),
            Column("VolumeBindingMode", text("volumeBindingMode", missing="Immediate"), description="When it is made."),
            Column("AllowVolumeExpansion", _expands, description="Whether volumes can grow."),
            AGE,
        ),
    ),
    Resource(
        group=_GROUP,
        plural="volumeattributesclasses",
        singular="volumeattributesclass",
        kind="VolumeAttributesClass",
        namespaced=False,
        short_names=("vac",),
        returns_deleted=True,
        strategy=VolumeAttributesClassStrategy(),
        columns=(NAME, Column("DriverName", text("driverName"), description="Who sets the attributes."), AGE),
    ),
)
