"""Claims to persistent volumes (k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, at, text
from orch_api.kinds.persistent_volume_rules import VOLUME_MODES, access_modes, positive_quantity
from orch_api.kinds.persistent_volumes import (
    CLASSES,
    STORAGE_CLASS_ANNOTATION,
    VOLUME_DETAILS,
    deprecated_class,
    phase,
    short_modes,
)
from orch_api.kinds.quantities import canonicalise
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import check, forbidden, immutable, invalid, required, same, unsupported

_SNAPSHOTS: Final = "snapshot.storage.k8s.io"
_FROZEN: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_RESIZE_STATES: Final = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)


class VolumeClaimStrategy(Strategy):
    """The rules of claims."""

    has_status = True

    def default(self, obj: Document) -> None:
        """Ask for a file system."""
        default_claim_spec(put_section(obj, "spec"))
        status = section(obj, "status")
        for part in ("capacity", "allocatedResources"):
            if found := status.get(part):
                canonicalise(found)

    def prepare_create(self, obj: Document) -> None:
        """Start as Pending; where the data comes from is said in the old and in the new way."""
        super().prepare_create(obj)
        obj["status"] = {"phase": "Pending"}
        spec = section(obj, "spec")
        _drop_unknown_source(spec)
        _mirror_source(spec)

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Drop, as at creation, a source that only the new way could name."""
        super().prepare_update(obj, old)
        before = section(old, "spec")
        if before.get("dataSource") is None and before.get("dataSourceRef") is None:
            _drop_unknown_source(section(obj, "spec"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the claim."""
        return claim_spec("spec", section(obj, "spec"))

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change. A bound claim may ask for more room, and for other attributes."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes = _class_annotation(obj, old)
        if not same(_with_changeable_fields(obj, old), _comparable(spec, before)):
            causes.append(forbidden("spec", _FROZEN))
        causes += _size(spec, old)
        if spec.get("volumeMode") != before.get("volumeMode"):
            causes.append(immutable("volumeMode", spec.get("volumeMode")))
        name = spec.get("volumeAttributesClassName")
        changed = name != before.get("volumeAttributesClassName")
        if changed and not name and section(old, "status").get("currentVolumeAttributesClassName") is not None:
            to = "nil" if name is None else "empty string"
            problem = f"update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
            causes.append(forbidden("spec.volumeAttributesClassName", problem))
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with sizes and the states of a resize."""
        _ = old
        status = section(obj, "status")
        causes: list[Cause] = []
        for name, value in section(status, "capacity").items():
            causes += _basic(f"status.capacity[{name}]", value)
        field = "status.allocatedResourceStatuses"
        for name, state in section(status, "allocatedResourceStatuses").items():
            causes += _resource_key(field, name)
            if state not in _RESIZE_STATES:
                causes.append(unsupported(field, name, _RESIZE_STATES))
        field = "status.allocatedResources"
        for name, value in section(status, "allocatedResources").items():
            causes += _resource_key(field, name) or _basic(f"{field}[{name}]", value)
        return causes

    def warnings(self, obj: Document) -> list[str]:
        """Point out what is deprecated, and sizes that are no whole number of bytes."""
        found = deprecated_class(obj)
        resources = section(section(obj, "spec"), "resources")
        for part in ("requests", "limits"):
            size = section(resources, part).get("storage")
            if size is not None and quantity.milli(str(size)) % 1000:
                field = f"spec.resources.{part}[storage]"
                found.append(f'{field}: fractional byte value "{size}" is invalid, must be an integer')
        return found


def default_claim_spec(spec: Document) -> None:
    """Fill in a claim's spec, wherever it stands."""
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    resources = section(spec, "resources")
    for part in ("requests", "limits"):
        if found := resources.get(part):
            canonicalise(found)


def _drop_unknown_source(spec: Document) -> None:
    """Drop what the field of old never named: anything but a claim or a snapshot. Other namespaces cannot be named."""
    reference: Document | None = spec.get("dataSourceRef")
    if reference is not None and reference.get("namespace"):
        del spec["dataSourceRef"]
        reference = None
    source: Document | None = spec.get("dataSource")
    if reference is not None or source is None:
        return
    kind, group = source.get("kind"), source.get("apiGroup") or ""
    if (kind, group) not in {("PersistentVolumeClaim", ""), ("VolumeSnapshot", _SNAPSHOTS)}:
        del spec["dataSource"]


def _mirror_source(spec: Document) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None:
        spec["dataSource"] = {name: value for name, value in reference.items() if name != "namespace"}


def claim_spec(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with a claim's spec, wherever it stands."""
    modes: list[str] = spec.get("accessModes") or []
    causes: list[Cause] = []
    if not modes:
        causes.append(required(f"{field}.accessModes", "at least 1 access mode is required"))
    if (selector := spec.get("selector")) is not None:
        causes += validation.label_selector(f"{field}.selector", selector)
    causes += access_modes(f"{field}.accessModes", modes)
    size = section(section(spec, "resources"), "requests").get("storage")
    sized = f"{field}.resources[storage]"
    causes += [required(sized)] if size is None else positive_quantity(sized, size)
    for name in ("storageClassName", "volumeAttributesClassName"):
        if found := spec.get(name):
            causes += check(f"{field}.{name}", found, validation.dns_subdomain)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        causes.append(unsupported(f"{field}.volumeMode", mode, VOLUME_MODES))
    return causes + _data_sources(field, spec)


def _data_sources(field: str, spec: Document) -> list[Cause]:
    causes: list[Cause] = []
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for name, found in (("dataSource", source), ("dataSourceRef", reference)):
        if found is not None:
            causes += _data_source(f"{field}.{name}", found)
    if source is None or reference is None:
        return causes
    parts = ("apiGroup", "kind", "name")
    if any((source.get(part) or "") != (reference.get(part) or "") for part in parts):
        causes.append(invalid(field, f"{field}.dataSource", "must match dataSourceRef"))
    return causes


def _data_source(at: str, source: Document) -> list[Cause]:
    causes = [required(f"{at}.{part}") for part in ("name", "kind") if not source.get(part)]
    group: str = source.get("apiGroup") or ""
    kind: str = source.get("kind") or ""
    if group:
        causes += check(f"{at}.apiGroup", group, validation.dns_subdomain)
    elif kind != "PersistentVolumeClaim":
        problem = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        causes.append(invalid(at, kind, problem))
    return causes


def _annotated_class(obj: Document) -> str | None:
    return section(section(obj, "metadata"), "annotations").get(STORAGE_CLASS_ANNOTATION)


def _class_moved(obj: Document, old: Document) -> bool:
    """Tell whether an update only moves the class from the annotation to the field."""
    annotated, name = _annotated_class(old), section(obj, "spec").get("storageClassName")
    if annotated is None or section(old, "spec").get("storageClassName") is not None:
        return False
    return name == annotated and _annotated_class(obj) in {None, annotated}


def _class_annotation(obj: Document, old: Document) -> list[Cause]:
    new = _annotated_class(obj) or ""
    if _class_moved(obj, old) or new == (_annotated_class(old) or ""):
        return []
    return [immutable(f"metadata.annotations[{STORAGE_CLASS_ANNOTATION}]", new)]


def _comparable(spec: Document, before: Document) -> Document:
    """Return the old spec as an update must leave it: a volume is chosen once."""
    return before if before.get("volumeName") else before | {"volumeName": spec.get("volumeName")}


def _with_changeable_fields(obj: Document, old: Document) -> Document:
    """Return the new spec with the old values of what may change."""
    before = section(old, "spec")
    held = dict(section(obj, "spec"))
    annotated = _annotated_class(old)
    name = held.get("storageClassName")
    if before.get("storageClassName") is None and name is not None and annotated in {None, name}:
        held["storageClassName"] = None
    if section(obj, "status").get("phase") != "Bound":
        return held
    requests = section(section(held, "resources"), "requests")
    if requests:
        size = section(section(before, "resources"), "requests").get("storage")
        held["resources"] = held["resources"] | {"requests": requests | {"storage": size}}
    held["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
    return held


def _milli(spec: Document) -> int:
    """Return how much a spec asks for in thousandths of a byte; what is no quantity was refused before."""
    try:
        return quantity.milli(str(at(spec, ("resources", "requests", "storage")) or "0"))
    except ValueError:
        return 0


def _size(spec: Document, old: Document) -> list[Cause]:
    """Return the cause when less is asked for than there is; a growth that failed may be taken back."""
    if _milli(spec) >= _milli(section(old, "spec")):
        return []
    capacity: Any = at(old, ("status", "capacity", "storage"))
    if _milli(spec) > quantity.milli(str(capacity or "0")):
        return []
    return [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")]


def _basic(at_: str, value: Any) -> list[Cause]:
    if validation.quantity_value(at_, value):
        return [invalid(at_, value, "must be a valid resource quantity")]
    return []


def _resource_key(at_: str, name: str) -> list[Cause]:
    if problems := validation.qualified_name(name):
        return [invalid(at_, name, problem) for problem in problems]
    domain = name.partition("/")[0]
    native = "/" not in name or domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    return [unsupported(at_, name, ("storage",))] if native and name != "storage" else []


def _bound(obj: Document) -> bool:
    return bool(section(obj, "spec").get("volumeName"))


def _capacity(obj: Document, now: datetime) -> str:
    _ = now
    return at(obj, ("status", "capacity", "storage")) or "0" if _bound(obj) else ""


def _modes(obj: Document, now: datetime) -> str:
    _ = now
    return short_modes(section(obj, "status").get("accessModes") or ()) if _bound(obj) else ""


RESOURCES: Final = (
    Resource(
        plural="persistentvolumeclaims",
        singular="persistentvolumeclaim",
        kind="PersistentVolumeClaim",
        short_names=("pvc",),
        returns_deleted=True,
        strategy=VolumeClaimStrategy(),
        columns=(
            NAME,
            Column("Status", phase, description="Whether the claim is bound."),
            Column("Volume", text("spec", "volumeName"), description="The volume that it is bound to."),
            Column("Capacity", _capacity, description="The volume's size."),
            Column("Access Modes", _modes, description="How the volume can be mounted."),
            *CLASSES,
            AGE,
            *VOLUME_DETAILS,
        ),
        subresources={"status": Subresource("PersistentVolumeClaim")},
    ),
)
