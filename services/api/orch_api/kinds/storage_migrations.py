"""Storage version migrations: wishes that objects be written again in the version in which they are stored now."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api.kinds.columns import NAME
from orch_api.kinds.condition_rules import conditions
from orch_api.kinds.status_metadata import BareStatusStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, section
from orch_api.validation import immutable, invalid, non_negative, required

_BOTH: Final = "Both success and failed conditions cannot be true at the same time"


class StorageMigrationStrategy(BareStatusStrategy):
    """The rules of migrations."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return the cause when no resource is named."""
        named = section(section(obj, "spec"), "resource").get("resource")
        return [] if named else [required("spec.resource.resource", "resource is required")]

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change: the resource."""
        new, before = section(section(obj, "spec"), "resource"), section(section(old, "spec"), "resource")
        return [
            immutable(part, new.get(part) or "")
            for part in ("group", "resource")
            if (new.get(part) or "") != (before.get(part) or "")
        ]

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what contradicts itself, or what was said before."""
        status, before = section(obj, "status"), section(old, "status")
        version: str = status.get("resourceVersion") or ""
        known: str = before.get("resourceVersion") or ""
        causes = _version(version)
        found: list[Document] = status.get("conditions") or []
        causes += conditions("status.conditions", found)
        if known and version != known:
            causes.append(invalid("status.resourceVersion", version, "cannot be updated"))
        now, then = _true(found), _true(before.get("conditions") or [])
        problems: list[str] = []
        if {"Succeeded", "Failed"} <= now:
            problems.append(_BOTH)
        for kind, word in (("Succeeded", "success"), ("Failed", "failed")):
            if {kind, "Running"} <= now:
                problems.append(f"Running condition cannot be true when {word} condition is true")
        for kind, word in (("Succeeded", "Success"), ("Failed", "Failed")):
            if kind in then - now:
                problems.append(f"{word} condition cannot be set to false once it is true")
        return causes + [invalid("status.conditions", found, problem) for problem in problems]


def _version(version: str) -> list[Cause]:
    field = "status.resourceVersion"
    if not version:
        return []
    try:
        return non_negative(field, int(version))
    except ValueError:
        return [invalid(field, version, f'failed to parse resource version "{version}"')]


def _true(conditions_: list[Document]) -> frozenset[str]:
    return frozenset(one.get("type") or "" for one in conditions_ if one.get("status") == "True")


def _resource(obj: Document, now: datetime) -> str:
    _ = now
    resource = section(section(obj, "spec"), "resource")
    return ".".join(part for part in (resource.get("resource") or "", resource.get("group") or "") if part)


RESOURCES: Final = (
    Resource(
        group="storagemigration.k8s.io",
        plural="storageversionmigrations",
        singular="storageversionmigration",
        kind="StorageVersionMigration",
        namespaced=False,
        strategy=StorageMigrationStrategy(),
        columns=(NAME, Column("Resource", _resource, description="What is to be written again.")),
        subresources={"status": Subresource("StorageVersionMigration", group="storagemigration.k8s.io")},
    ),
)
