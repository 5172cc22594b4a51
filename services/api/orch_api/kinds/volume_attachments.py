"""Volume attachments: which volume is to be attached to which node, and by whom."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.kinds.persistent_volume_rules import default_sources, driver_name, volume_spec
from orch_api.kinds.status_metadata import BareStatusStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, section
from orch_api.validation import check, forbidden, immutable, inclusive_range, invalid, required, same, too_long

_ONE_SOURCE: Final = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
_MAX_METADATA: Final = 256 * 1024
_MAX_MESSAGE: Final = 1024
_MAX_CODE: Final = 2**31 - 1


class VolumeAttachmentStrategy(BareStatusStrategy):
    """The rules of attachments."""

    def default(self, obj: Document) -> None:
        """Fill in what an inline volume leaves out."""
        inline: Document | None = section(section(obj, "spec"), "source").get("inlineVolumeSpec")
        if inline is not None:
            default_sources(inline)

    def prepare_create(self, obj: Document) -> None:
        """Start as not attached."""
        super().prepare_create(obj)
        obj["status"] = {"attached": False}

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the driver, the volume and the node."""
        spec = section(obj, "spec")
        causes = _source("spec.source", section(spec, "source"))
        causes += check("spec.nodeName", spec.get("nodeName") or "", validation.dns_subdomain)
        return causes + driver_name("spec.attacher", spec.get("attacher") or "")

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when anything changes."""
        spec = section(obj, "spec")
        return [] if same(spec, section(old, "spec")) else [immutable("spec", spec)]

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is too large, or not a code."""
        _ = old
        status = section(obj, "status")
        metadata: dict[str, str] = section(status, "attachmentMetadata")
        causes: list[Cause] = []
        if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > _MAX_METADATA:
            causes.append(too_long("status.attachmentMetadata", _MAX_METADATA))
        for name in ("attachError", "detachError"):
            error = section(status, name)
            if len((error.get("message") or "").encode()) > _MAX_MESSAGE:
                causes.append(too_long(f"status.{name}.message", _MAX_METADATA))
            if (error.get("errorCode") or 0) < 0:
                problem = inclusive_range(0, _MAX_CODE)
                causes.append(invalid(f"status.{name}.errorCode", error["errorCode"], problem))
        return causes


def _source(at: str, source: Document) -> list[Cause]:
    inline: Document | None = source.get("inlineVolumeSpec")
    name: str | None = source.get("persistentVolumeName")
    if inline is None and name is None:
        return [required(at, _ONE_SOURCE)]
    if inline is not None and name is not None:
        return [forbidden(at, _ONE_SOURCE)]
    if inline is not None:
        return volume_spec(f"{at}.inlineVolumeSpec", inline, inline=True)
    at = f"{at}.persistentVolumeName"
    return (
        check(at, name, validation.dns_subdomain)
        if name
        else [required(at, "must specify non empty persistentVolumeName")]
    )


def _attached(obj: Document, now: datetime) -> bool:
    _ = now
    return bool(section(obj, "status").get("attached"))


RESOURCES: Final = (
    Resource(
        group="storage.k8s.io",
        plural="volumeattachments",
        singular="volumeattachment",
        kind="VolumeAttachment",
        namespaced=False,
        returns_deleted=True,
        strategy=VolumeAttachmentStrategy(),
        columns=(
            NAME,
            Column("Attacher", text("spec", "attacher"), format="name", description="The driver that attaches."),
            Column("PV", text("spec", "source", "persistentVolumeName"), description="The volume."),
            Column("Node", text("spec", "nodeName"), description="The node."),
            Column("Attached", _attached, type="boolean", description="Whether it is attached."),
            AGE,
        ),
        subresources={"status": Subresource("VolumeAttachment", group="storage.k8s.io")},
    ),
)
