"""Bootstrap tokens: short-lived ones with which a node asks for its first certificate.

Each is a Secret of kube-system of the type bootstrap.kubernetes.io/token, named after the public half of the token
(plugin/pkg/auth/authenticator/token/bootstrap).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from orch.clock import Clock, parse_rfc3339
from orch.store.keys import ObjectKey
from orch_api.auth.identity import Caller
from orch_api.storage.cache import ObjectCache

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-system"
NAME_PREFIX: Final = "bootstrap-token-"
TYPE: Final = "bootstrap.kubernetes.io/token"
USER_PREFIX: Final = "system:bootstrap:"
GROUP: Final = "system:bootstrappers"

_TOKEN: Final = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP: Final = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class _Metadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None


class _Secret(msgspec.Struct):
    metadata: _Metadata
    type: str = ""
    data: dict[str, str] | None = None


_secret = msgspec.json.Decoder(_Secret).decode


class BootstrapTokens:
    """Knows the tokens that are Secrets now. Why one does not count is logged, never told to who presents it."""

    def __init__(self, cache: ObjectCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    async def identify(self, token: str, audiences: Sequence[str]) -> Caller | None:
        """Return whose token it is, None when it is none, or none that counts."""
        _ = audiences
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        public, private = parts[1], parts[2]
        name = f"{NAME_PREFIX}{public}"
        found = self._cache.get(ObjectKey("", "secrets", NAMESPACE, name))
        if found is None:
            return None
        data, problem = self._read(found.json)
        given = data.get("token-secret", "")
        if not problem and not hmac.compare_digest(given.encode(), private.encode()):
            problem = "has another secret than the token presented"
        elif not problem and data.get("token-id") != public:
            problem = "has invalid value for key token-id"
        problem = problem or self._refusal(data)
        if problem:
            log.info("bootstrap secret %s/%s matching bearer token %s", NAMESPACE, name, problem)
            return None
        return Caller(f"{USER_PREFIX}{public}", (GROUP, *_extra_groups(data)))

    def _read(self, document: bytes) -> tuple[Mapping[str, str], str]:
        """Return a Secret's plain content, and why it is no token."""
        secret = _secret(document)
        if secret.metadata.deletion_timestamp:
            return {}, "is deleted and awaiting removal"
        if secret.type != TYPE or secret.data is None:
            return {}, f"has invalid type, expected {TYPE}"
        try:
            return {key: base64.b64decode(value).decode() for key, value in secret.data.items()}, ""
        except (binascii.Error, ValueError):
            return {}, "has content that is no text"

    def _refusal(self, data: Mapping[str, str]) -> str:
        """Return why a token does not count although its secret is right."""
        if (until := data.get("expiration")) and self._is_over(until):
            return "has expired"
        if data.get("usage-bootstrap-authentication") != "true":
            return "not marked usage-bootstrap-authentication"
        wrong = [group for group in _extra_groups(data) if not _GROUP.fullmatch(group)]
        return f"has invalid value for key auth-extra-groups: {wrong[0]!r}" if wrong else ""

    def _is_over(self, until: str) -> bool:
        """Return whether a moment has passed; what is no moment counts as one that has."""
        try:
            return parse_rfc3339(until) <= self._clock.now()
        except ValueError:
            return True


def _extra_groups(data: Mapping[str, str]) -> list[str]:
    listed = data.get("auth-extra-groups", "")
    return sorted(set(listed.split(",")) - {GROUP}) if listed else []
