"""Whose the tokens of one issuer are, and whether they count now."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
from prometheus_client import Histogram

from orch.clock import Clock
from orch.errors import UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.auth.jws import claimed_issuer
from orch_api.auth.oidc.claims import ClaimsReader
from orch_api.auth.oidc.configuration import JwtIssuer
from orch_api.auth.oidc.key_sets import KeySet
from orch_api.auth.oidc.provider import Provider

LATENCY: Final = Histogram(
    "apiserver_authentication_jwt_authenticator_latency_seconds",
    "Time that reading tokens of issuers took",
    ("result", "jwt_issuer_hash"),
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_KNOWN: Final = 1024
"""Tokens of an issuer that need not be verified again; their time is looked at always."""
_EARLY: Final = 300
"""Seconds by which an issuer's clock may be ahead."""
_GOOGLE: Final = "accounts.google.com"


class _Verified(msgspec.Struct, frozen=True):
    caller: Caller
    ends: float
    begins: float


class IssuerTokens:
    """The tokens of one issuer."""

    def __init__(self, config: JwtIssuer, clock: Clock) -> None:
        digest = f"sha256:{hashlib.sha256(config.issuer.url.encode()).hexdigest()}"
        self.config = config
        self.provider = Provider(config.issuer, digest, clock)
        self._digest = digest
        self._clock = clock
        self._audiences = frozenset(config.issuer.audiences)
        self._reader = ClaimsReader(config)
        self._verified = lru_cache(_KNOWN)(self._read)

    async def identify(self, token: str) -> Caller:
        """Return whose a token is that claims to be the issuer's. Raises UnauthorizedError."""
        started, result = time.perf_counter(), "failure"
        try:
            caller = await self._identify(token)
            result = "success"
        finally:
            LATENCY.labels(result, self._digest).observe(time.perf_counter() - started)
        return caller

    async def _identify(self, token: str) -> Caller:
        if self.provider.keys is None:
            raise UnauthorizedError("oidc: authenticator not initialized")
        found = self._verified(self.provider.keys, token)
        if found is None and await self.provider.refresh_if_due():
            found = self._verified(self.provider.keys, token)
        if found is None:
            raise UnauthorizedError("oidc: verify token: failed to verify signature: no key of the issuer has made it")
        now = self._clock.now().timestamp()
        if now >= found.ends:
            ended = datetime.fromtimestamp(found.ends, UTC).isoformat() if found.ends > 0 else "none"
            raise UnauthorizedError(f"oidc: verify token: oidc: token is expired (Token Expiry: {ended})")
        if now + _EARLY < found.begins:
            raise UnauthorizedError("oidc: verify token: oidc: current time before the nbf (not before) time")
        return found.caller

    def _read(self, keys: KeySet, token: str) -> _Verified | None:
        claims = keys.verify(token)
        if claims is None:
            return None
        if claims.get("iss") not in _names(self.config.issuer.url):
            raise UnauthorizedError("oidc: verify token: oidc: id token issued by a different provider")
        meant = claims.get("aud")
        audiences = cast("list[Any]", meant) if isinstance(meant, list) else [meant]
        if not any(isinstance(one, str) and one in self._audiences for one in audiences):
            expected = msgspec.json.encode(sorted(self._audiences)).decode()
            got = msgspec.json.encode(audiences).decode()
            raise UnauthorizedError(f"oidc: verify token: oidc: expected audience in {expected} got {got}")
        return _Verified(self._reader.caller(claims), _moment(claims, "exp"), _moment(claims, "nbf"))


class JwtTokens:
    """The tokens of all issuers that are configured now."""

    def __init__(self) -> None:
        self._issuers: Mapping[str, IssuerTokens] = {}

    def replace(self, issuers: Sequence[IssuerTokens]) -> None:
        """Know these issuers from now on."""
        self._issuers = {name: one for one in issuers for name in _names(one.config.issuer.url)}

    async def identify(self, token: str, audiences: Sequence[str]) -> Caller | None:
        """Return whose token it is, None when it claims no issuer that is known. Raises UnauthorizedError."""
        _ = audiences
        if not self._issuers:
            return None
        issuer = self._issuers.get(claimed_issuer(token))
        return None if issuer is None else await issuer.identify(token)


def _names(url: str) -> tuple[str, ...]:
    """Return how an issuer may call itself: Google's tokens leave the scheme out."""
    return (url, _GOOGLE) if url == f"https://{_GOOGLE}" else (url,)


def _moment(claims: Mapping[str, Any], name: str) -> float:
    """Return a moment that a token names, 0 when it names none. Raises UnauthorizedError for what is no number."""
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnauthorizedError(f"oidc: verify token: oidc: failed to unmarshal claims: {name} is no number")
    return float(value)
