"""Persistent volumes (k8s.io/kubernetes/pkg/registry/core/persistentvolume)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from orch.clock import Clock, SystemClock, rfc3339
from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, at, text
from orch_api.kinds.persistent_volume_rules import SOURCES, default_sources, volume_spec
from orch_api.resource import Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import IMMUTABLE, forbidden, immutable, invalid, same

STORAGE_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
UNSET: Final = "<unset>"

_SHORT_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


class PersistentVolumeStrategy(Strategy):
    """The rules of persistent volumes. The clock says when a volume's phase changed."""

    has_status = True

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def default(self, obj: Document) -> None:
        """Keep what a released volume holds, and hold a file system."""
        spec = put_section(obj, "spec")
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        if spec.get("volumeMode") is None:
            spec["volumeMode"] = "Filesystem"
        default_sources(spec)

    def prepare_create(self, obj: Document) -> None:
        """Start as Pending."""
        super().prepare_create(obj)
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": rfc3339(self._clock.now())}

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Note when the phase changed, unless the writer says when."""
        super().prepare_status(obj, old)
        status, before = put_section(obj, "status"), section(old, "status")
        if not status.get("phase"):
            status["phase"] = "Pending"
        moment, known = status.get("lastPhaseTransitionTime"), before.get("lastPhaseTransitionTime")
        if status["phase"] == before.get("phase"):
            if moment is None and known is not None:
                status["lastPhaseTransitionTime"] = known
        elif moment is None or moment == known:
            status["lastPhaseTransitionTime"] = rfc3339(self._clock.now())

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the volume."""
        name: str = section(obj, "metadata").get("name") or ""
        return volume_spec("spec", section(obj, "spec"), name=name)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change: where the data is, and how it is reached."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes: list[Cause] = []
        if not same(_source(spec, before), _source(before, before)):
            problem = "spec.persistentvolumesource is immutable after creation"
            causes.append(forbidden("spec.persistentvolumesource", problem))
        if spec.get("volumeMode") != before.get("volumeMode"):
            causes.append(immutable("volumeMode", spec.get("volumeMode")))
        affinity: Any = before.get("nodeAffinity")
        if affinity is not None and not same(spec.get("nodeAffinity"), affinity):
            problem = f"{IMMUTABLE}, except for updating from beta label to GA"
            causes.append(invalid("nodeAffinity", spec.get("nodeAffinity"), problem))
        field = "volumeAttributesClassName"
        if before.get(field) is not None and spec.get(field) is None:
            causes.append(forbidden(f"spec.{field}", "update from non-nil value to nil is forbidden"))
        return causes

    def warnings(self, obj: Document) -> list[str]:
        """Point out what is deprecated."""
        spec = section(obj, "spec")
        found = deprecated_class(obj)
        if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            found.append(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the "
                "recommended approach is to use dynamic provisioning."
            )
        return found


def _source(spec: Document, before: Document) -> Document:
    """Return where a volume is; a secret for expansion may be added to a CSI volume that has none."""
    source = {kind: spec[kind] for kind in SOURCES if spec.get(kind) is not None}
    known: Document | None = before.get("csi")
    if "csi" in source and known is not None and known.get("controllerExpandSecretRef") is None:
        source["csi"] = source["csi"] | {"controllerExpandSecretRef": None}
    return source


def deprecated_class(obj: Document) -> list[str]:
    """Point out that a class is named by an annotation."""
    if STORAGE_CLASS_ANNOTATION not in section(section(obj, "metadata"), "annotations"):
        return []
    field = f"metadata.annotations[{STORAGE_CLASS_ANNOTATION}]"
    return [f'{field}: deprecated since v1.8; use "storageClassName" attribute instead']


def short_modes(modes: Iterable[str]) -> str:
    """Return access modes as they are shown: RWO,ROX,RWX,RWOP."""
    given = set(modes)
    return ",".join(short for mode, short in _SHORT_MODES.items() if mode in given)


def storage_class(obj: Document, now: datetime) -> str:
    """Return the class of a volume or claim; the annotation of old counts more."""
    _ = now
    annotations = section(section(obj, "metadata"), "annotations")
    if STORAGE_CLASS_ANNOTATION in annotations:
        return annotations[STORAGE_CLASS_ANNOTATION]
    return section(obj, "spec").get("storageClassName") or ""


def phase(obj: Document, now: datetime) -> str:
    """Return the phase of a volume or claim."""
    _ = now
    if section(obj, "metadata").get("deletionTimestamp"):
        return "Terminating"
    return section(obj, "status").get("phase") or ""


def or_unset(*path: str) -> Cell:
    """Return the cell of a text that may be unset, which is not the same as empty."""

    def cell(obj: Document, now: datetime) -> str:
        _ = now
        found: str | None = at(obj, path)
        return UNSET if found is None else found

    return cell


def _modes(obj: Document, now: datetime) -> str:
    _ = now
    return short_modes(section(obj, "spec").get("accessModes") or ())


def _claim(obj: Document, now: datetime) -> str:
    _ = now
    claim: Document | None = section(obj, "spec").get("claimRef")
    return f"{claim.get('namespace') or ''}/{claim.get('name') or ''}" if claim is not None else ""


VOLUME_DETAILS: Final = (
    Column("VolumeMode", or_unset("spec", "volumeMode"), description="Filesystem or Block.", priority=1),
)
CLASSES: Final = (
    Column("StorageClass", storage_class, description="The class of the storage."),
    Column("VolumeAttributesClass", or_unset("spec", "volumeAttributesClassName"), description="Its attributes."),
)

RESOURCES: Final = (
    Resource(
        plural="persistentvolumes",
        singular="persistentvolume",
        kind="PersistentVolume",
        namespaced=False,
        short_names=("pv",),
        returns_deleted=True,
        strategy=PersistentVolumeStrategy(),
        columns=(
            NAME,
            Column("Capacity", text("spec", "capacity", "storage", missing="0"), description="The volume's size."),
            Column("Access Modes", _modes, description="How it can be mounted."),
            Column(
                "Reclaim Policy", text("spec", "persistentVolumeReclaimPolicy"), description="What follows release."
            ),
            Column("Status", phase, description="Whether it is bound."),
            Column("Claim", _claim, description="The claim that it is bound to."),
            *CLASSES,
            Column("Reason", text("status", "reason"), description="Why it is in this state."),
            AGE,
            *VOLUME_DETAILS,
        ),
        subresources={"status": Subresource("PersistentVolume")},
    ),
)
