"""IPAddress objects: each says which service holds an address (networking.k8s.io/v1). Whoever creates it has it.

That the store creates a key only once is what keeps two api processes from giving the same address twice.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from orch.store.keys import ObjectKey
from orch_api.strategy import Document, section

GROUP: Final = "networking.k8s.io"
PLURAL: Final = "ipaddresses"
MANAGED_BY: Final = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR: Final = "ipallocator.k8s.io"

_FAMILY: Final = "ipaddress.kubernetes.io/ip-family"
_HOLDER: Final = "orch.dev/service-uid"
"""The annotation that tells a service from a later one of the same name."""


class _Metadata(msgspec.Struct, rename="camel"):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""


class Holder(msgspec.Struct):
    """What is asked about an IPAddress."""

    metadata: _Metadata

    @property
    def allocated(self) -> bool:
        """Whether the api made it, rather than somebody who wants to keep the address from services."""
        return self.metadata.labels.get(MANAGED_BY) == ALLOCATOR

    @property
    def uid(self) -> str:
        """The service's uid."""
        return self.metadata.annotations.get(_HOLDER, "")

    @property
    def since(self) -> str:
        """When it was made, RFC 3339."""
        return self.metadata.creation_timestamp


_decode = msgspec.json.Decoder(Holder).decode


def key_of(address: str) -> ObjectKey:
    """Return the key of an address's object."""
    return ObjectKey(GROUP, PLURAL, "", address)


def read_holder(json: bytes) -> Holder:
    """Return what an IPAddress says."""
    return _decode(json)


def held_by(address: str, service: Document, now: str) -> dict[str, Any]:
    """Return the IPAddress that says that a service holds an address."""
    meta = section(service, "metadata")
    return {
        "kind": "IPAddress",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {
            "name": address,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now,
            "generation": 1,
            "labels": {_FAMILY: "IPv6" if ":" in address else "IPv4", MANAGED_BY: ALLOCATOR},
            "annotations": {_HOLDER: meta.get("uid") or ""},
        },
        "spec": {
            "parentRef": {
                "group": "",
                "resource": "services",
                "namespace": meta.get("namespace") or "",
                "name": meta.get("name") or "",
            }
        },
    }
