"""PersistentVolumeClaimResize: a claim grows only when its storage class says that its volumes can."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

from orch import quantity
from orch_api.admission.chain import UPDATE, Plugin, Request, Rule
from orch_api.admission.known import Known
from orch_api.admission.refusals import refused
from orch_api.kinds.persistent_volumes import STORAGE_CLASS_ANNOTATION
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import section

_NOT_BOUND: Final = "Only bound persistent volume claims can be expanded"
_NOT_RESIZABLE: Final = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


class _Class(msgspec.Struct, gc=False, rename="camel"):
    allow_volume_expansion: bool | None = None


_decode = msgspec.json.Decoder(_Class).decode


class PersistentVolumeClaimResize(Plugin):
    """Refuses to let claims grow that cannot."""

    name: ClassVar = "PersistentVolumeClaimResize"
    validates: ClassVar = (Rule((UPDATE,), ("persistentvolumeclaims",)),)

    def __init__(self, cache: ObjectCache) -> None:
        self._classes = Known(cache, "storage.k8s.io", "storageclasses", _decode)

    async def validate(self, request: Request) -> None:
        """Compare the sizes. Raises ForbiddenError."""
        claim, old = request.document, request.old
        if claim is None or old is None or _size(claim) <= _size(old):
            return
        if section(old, "status").get("phase") != "Bound":
            raise refused(request, _NOT_BOUND)
        name = _class(claim)
        if not name or name != _class(old):
            raise refused(request, _NOT_RESIZABLE)
        found = await self._classes.find(name)
        if found is None or not found.allow_volume_expansion:
            raise refused(request, _NOT_RESIZABLE)


def _size(claim: dict[str, Any]) -> int:
    """Return a claim's size; validation has seen that it is a quantity."""
    asked = section(section(section(claim, "spec"), "resources"), "requests").get("storage")
    return 0 if asked is None else quantity.parse(str(asked)).nanos


def _class(claim: dict[str, Any]) -> str:
    annotated = section(section(claim, "metadata"), "annotations").get(STORAGE_CLASS_ANNOTATION)
    return annotated if annotated is not None else section(claim, "spec").get("storageClassName") or ""
