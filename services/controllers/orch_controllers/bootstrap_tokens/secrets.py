"""Bootstrap tokens as their Secrets say them (k8s.io/cluster-bootstrap/token)."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Final

import msgspec

from orch.clock import parse_rfc3339
from orch.objects.cluster import Secret

NAMESPACE: Final = "kube-system"
NAME_PREFIX: Final = "bootstrap-token-"
TYPE: Final = "bootstrap.kubernetes.io/token"

_ID: Final = re.compile(r"[a-z0-9]{6}")
_SECRET: Final = re.compile(r"[a-z0-9]{16}")


class BootstrapToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a Secret says. `expiration` is None for a token that does not end by itself."""

    id: str
    secret: str
    signs: bool
    expiration: datetime | None

    def left(self, now: datetime) -> float | None:
        """Return for how many seconds the token counts still, None when for ever."""
        return None if self.expiration is None else (self.expiration - now).total_seconds()

    @property
    def well_formed(self) -> bool:
        """Whether both halves are as tokens write them."""
        return bool(_ID.fullmatch(self.id) and _SECRET.fullmatch(self.secret))


def is_named_so(namespace: str, name: str) -> bool:
    """Return whether an object's name is that of a bootstrap token's Secret."""
    return namespace == NAMESPACE and name.startswith(NAME_PREFIX)


def read(secret: Secret) -> BootstrapToken | None:
    """Return the token of a Secret, None when it is none. An end that cannot be read has passed already."""
    meta = secret.metadata
    if secret.type != TYPE or not is_named_so(meta.namespace, meta.name) or meta.deletion_timestamp:
        return None
    try:
        data = {key: base64.b64decode(value).decode() for key, value in secret.data.items()}
    except (binascii.Error, ValueError):
        return None
    if data.get("token-id") != meta.name.removeprefix(NAME_PREFIX):
        return None
    return BootstrapToken(
        id=data["token-id"],
        secret=data.get("token-secret", ""),
        signs=data.get("usage-bootstrap-signing") == "true",
        expiration=_moment(data["expiration"]) if data.get("expiration") else None,
    )


def _moment(text: str) -> datetime:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return parse_rfc3339("1970-01-01T00:00:00Z")
