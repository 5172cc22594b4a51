"""StorageObjectInUseProtection: claims that a pod uses, bound volumes and named classes outlast their deletion.

The finalizers are taken away by the controllers that know when nobody uses the object any more.
"""

from __future__ import annotations

from typing import ClassVar, Final

from orch_api.admission.chain import CREATE, Plugin, Request, Rule
from orch_api.strategy import put_section

_FINALIZERS: Final = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    """Gives new claims, volumes and VolumeAttributesClasses a finalizer."""

    name: ClassVar = "StorageObjectInUseProtection"
    mutates: ClassVar = (Rule((CREATE,), tuple(_FINALIZERS)),)

    async def mutate(self, request: Request) -> None:
        """Add the finalizer, once."""
        if request.document is None:
            return
        metadata = put_section(request.document, "metadata")
        finalizers: list[str] = metadata.get("finalizers") or []
        finalizer = _FINALIZERS[request.resource.qualified]
        if finalizer not in finalizers:
            metadata["finalizers"] = [*finalizers, finalizer]
