"""DefaultStorageClass and DefaultIngressClass: a claim or an ingress that names no class gets the default one.

Of several defaults the newest counts, and of those made in the same second the first by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from orch_api.admission.chain import CREATE, Plugin, Request, Rule
from orch_api.admission.known import Known
from orch_api.kinds.ingresses import CLASS_ANNOTATION
from orch_api.kinds.persistent_volumes import STORAGE_CLASS_ANNOTATION
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import put_section, section

_STORAGE: Final = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_INGRESS: Final = ("ingressclass.kubernetes.io/is-default-class",)


class _Metadata(msgspec.Struct, gc=False, rename="camel"):
    creation_timestamp: str = ""
    annotations: dict[str, str] | None = None


class _Class(msgspec.Struct, gc=False):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Class).decode


class DefaultStorageClass(Plugin):
    """Gives claims the default storage class."""

    name: ClassVar = "DefaultStorageClass"
    mutates: ClassVar = (Rule((CREATE,), ("persistentvolumeclaims",)),)

    def __init__(self, cache: ObjectCache) -> None:
        self._classes = Known(cache, "storage.k8s.io", "storageclasses", _decode)

    async def mutate(self, request: Request) -> None:
        """Name the class; without a default one the claim waits until there is one."""
        claim = request.document
        if claim is None or STORAGE_CLASS_ANNOTATION in section(section(claim, "metadata"), "annotations"):
            return
        spec = put_section(claim, "spec")
        if spec.get("storageClassName") is None and (name := _default(self._classes.all(), _STORAGE)):
            spec["storageClassName"] = name


class DefaultIngressClass(Plugin):
    """Gives ingresses the default ingress class."""

    name: ClassVar = "DefaultIngressClass"
    mutates: ClassVar = (Rule((CREATE,), ("ingresses.networking.k8s.io",)),)

    def __init__(self, cache: ObjectCache) -> None:
        self._classes = Known(cache, "networking.k8s.io", "ingressclasses", _decode)

    async def mutate(self, request: Request) -> None:
        """Name the class, unless one is named in the new or in the old way."""
        ingress = request.document
        if ingress is None or CLASS_ANNOTATION in section(section(ingress, "metadata"), "annotations"):
            return
        spec = put_section(ingress, "spec")
        if spec.get("ingressClassName") is None and (name := _default(self._classes.all(), _INGRESS)):
            spec["ingressClassName"] = name


def _default(classes: Mapping[str, _Class], annotations: tuple[str, ...]) -> str:
    """Return the default class's name, "" when there is none."""
    chosen, since = "", ""
    for name, one in sorted(classes.items()):
        said = one.metadata.annotations or {}
        if any(said.get(key) == "true" for key in annotations) and one.metadata.creation_timestamp > since:
            chosen, since = name, one.metadata.creation_timestamp
    return chosen
