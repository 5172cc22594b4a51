"""Resource claims, their templates, and the classes of devices that they ask for."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME
from orch_api.kinds.device_allocations import claim_status, drop_deallocated
from orch_api.kinds.device_requests import claim, default_claim
from orch_api.kinds.device_rules import GROUP, MAX_CONFIGS, each, selectors, settings
from orch_api.kinds.quantities import is_extended
from orch_api.kinds.status_metadata import BareStatusStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import forbidden, immutable, invalid, same


class ResourceClaimStrategy(BareStatusStrategy):
    """The rules of claims."""

    def default(self, obj: Document) -> None:
        """Ask for one device of each."""
        default_claim(put_section(obj, "spec"))

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Drop what is said of devices that the claim has no longer."""
        super().prepare_status(obj, old)
        drop_deallocated(section(obj, "status"), section(old, "status"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with what is asked for."""
        return claim("spec", section(obj, "spec"))

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when something else is asked for."""
        return _frozen(obj, old)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with what the claim got."""
        return claim_status(obj, old)


class ResourceClaimTemplateStrategy(Strategy):
    """The rules of templates of claims."""

    def default(self, obj: Document) -> None:
        """Ask for one device of each."""
        default_claim(put_section(put_section(obj, "spec"), "spec"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the claims that would be made."""
        spec = section(obj, "spec")
        meta = section(spec, "metadata")
        at = "spec.metadata"
        causes = validation.label_map(f"{at}.labels", section(meta, "labels"))
        causes += validation.annotation_map(f"{at}.annotations", section(meta, "annotations"))
        causes += [
            forbidden(f"{at}.{name}", "cannot be set")
            for name, value in meta.items()
            if value and name not in {"labels", "annotations"}
        ]
        return causes + claim("spec.spec", section(spec, "spec"))

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the template changes."""
        return _frozen(obj, old)


def _frozen(obj: Document, old: Document) -> list[Cause]:
    spec = section(obj, "spec")
    return [] if same(spec, section(old, "spec")) else [immutable("spec", spec)]


class DeviceClassStrategy(Strategy):
    """The rules of device classes."""

    has_generation = True

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with selectors and settings."""
        spec = section(obj, "spec")
        causes = selectors("spec.selectors", spec.get("selectors") or [])
        causes += each("spec.config", spec.get("config") or [], MAX_CONFIGS, settings)
        name: str | None = spec.get("extendedResourceName")
        if name is not None and not is_extended(name):
            causes.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))
        return causes


def _state(obj: Document, now: datetime) -> str:
    _ = now
    status = section(obj, "status")
    states: list[str] = []
    deleted = bool(section(obj, "metadata").get("deletionTimestamp"))
    if deleted:
        states.append("deleted")
    if status.get("allocation") is not None:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    elif not deleted:
        states.append("pending")
    return ",".join(states)


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="resourceclaims",
        singular="resourceclaim",
        kind="ResourceClaim",
        returns_deleted=True,
        strategy=ResourceClaimStrategy(),
        columns=(NAME, Column("State", _state, description="Whether devices are allocated and reserved."), AGE),
        subresources={"status": Subresource("ResourceClaim", group=GROUP)},
    ),
    Resource(
        group=GROUP,
        plural="resourceclaimtemplates",
        singular="resourceclaimtemplate",
        kind="ResourceClaimTemplate",
        returns_deleted=True,
        strategy=ResourceClaimTemplateStrategy(),
        columns=(NAME, AGE),
    ),
    Resource(
        group=GROUP,
        plural="deviceclasses",
        singular="deviceclass",
        kind="DeviceClass",
        namespaced=False,
        returns_deleted=True,
        strategy=DeviceClassStrategy(),
        columns=(NAME, AGE),
    ),
)
