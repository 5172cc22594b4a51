"""Service accounts' tokens: what they say, and when they count (k8s.io/kubernetes/pkg/serviceaccount).

A token is signed by the api and bound to an account, perhaps to a pod, secret or node besides. It counts until it
ends, or what it is bound to is gone or was replaced by another of the same name.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, parse_rfc3339
from orch.errors import UnauthorizedError
from orch.store.keys import ObjectKey
from orch_api.auth.identity import AUTHENTICATED, CREDENTIAL_ID, SERVICE_ACCOUNTS, Caller
from orch_api.auth.jws import claimed_issuer
from orch_api.auth.keys import Keys, SigningKeys
from orch_api.storage.cache import Cached, ObjectCache

VALID: Final = Counter("serviceaccount_valid_tokens", "Tokens of service accounts that counted")
STALE: Final = Counter("serviceaccount_stale_tokens", "Tokens that counted only because their life was extended")

LEEWAY: Final = 60
"""Seconds by which clocks may differ, and for which what is being deleted still counts."""

USER_PREFIX: Final = "system:serviceaccount:"
_EXTRA: Final = "authentication.kubernetes.io/"
_VERIFIED: Final = 4096
"""Tokens whose signature need not be computed again."""


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object that a token names."""

    name: str
    uid: str = ""


class Binding(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Whose token it is, and what it is bound to. A pod's token names its node, too."""

    namespace: str
    serviceaccount: Reference
    pod: Reference | None = None
    secret: Reference | None = None
    node: Reference | None = None
    warnafter: int | None = None


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says (RFC 7519)."""

    aud: list[str] | str = []
    exp: int
    iat: int
    iss: str
    jti: str = ""
    kubernetes: Binding = msgspec.field(name="kubernetes.io")
    nbf: int
    sub: str


class _Metadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


_claims = msgspec.json.Decoder(Claims).decode
_object = msgspec.json.Decoder(_Object).decode


class ServiceAccountTokens:
    """Issues tokens and says whose they are. `audiences` are the api's own: who a token is for unless it says so.

    Tokens of `former` issuers, which the api was called before, count as well.
    """

    def __init__(
        self,
        keys: Keys,
        issuer: str,
        audiences: Sequence[str],
        cache: ObjectCache,
        clock: Clock,
        *,
        former: Sequence[str] = (),
        longest: float = 0.0,
    ) -> None:
        self._source = keys
        self.issuer = issuer
        self.longest = int(longest)
        """Seconds that a token may be asked for, 0 when there is no such limit."""
        self._issuers = frozenset((issuer, *former))
        self.audiences = tuple(audiences) or (issuer,)
        self._cache = cache
        self._clock = clock
        self._verified = lru_cache(_VERIFIED)(_verify)

    @property
    def keys(self) -> SigningKeys:
        """The keys as they are now."""
        return self._source.current

    def issue(self, bound: Binding, audiences: Sequence[str], seconds: int) -> str:
        """Return a new token that ends after so many seconds."""
        now = int(self._clock.now().timestamp())
        claims = Claims(
            aud=list(audiences),
            exp=now + seconds,
            iat=now,
            iss=self.issuer,
            jti=str(uuid.uuid4()),
            kubernetes=bound,
            nbf=now,
            sub=f"{USER_PREFIX}{bound.namespace}:{bound.serviceaccount.name}",
        )
        return self.keys.sign(msgspec.json.encode(claims))

    async def identify(self, token: str, audiences: Sequence[str]) -> tuple[Caller, tuple[str, ...]] | None:
        """Return whose token it is and for which of the audiences, None when it is not one of ours.

        Raises UnauthorizedError saying why one of ours does not count, UnavailableError when that cannot be told.
        """
        if claimed_issuer(token) not in self._issuers:
            return None
        if not self.keys.knows(token):
            self._source.look()
        claims = self._verified(self.keys, token)
        self._check_time(claims)
        meant = [claims.aud] if isinstance(claims.aud, str) else claims.aud or list(self.audiences)
        accepted = tuple(one for one in meant if one in audiences)
        if not accepted:
            raise UnauthorizedError(
                f"token audiences {_listed(meant)} is invalid for the target audiences {_listed(audiences)}"
            )
        await self._check_objects(claims.kubernetes)
        VALID.inc()
        if (warned := claims.kubernetes.warnafter) is not None and self._clock.now().timestamp() > warned:
            STALE.inc()
        return _caller(claims), accepted

    def _check_time(self, claims: Claims) -> None:
        now = self._clock.now().timestamp()
        if now - LEEWAY > claims.exp:
            raise UnauthorizedError("service account token has expired")
        if now + LEEWAY < claims.nbf:
            raise UnauthorizedError("service account token is not valid yet")
        if now + LEEWAY < claims.iat:
            raise UnauthorizedError("service account token is issued in the future")

    async def _check_objects(self, bound: Binding) -> None:
        account = await self._present("serviceaccounts", bound.namespace, bound.serviceaccount.name)
        if account is None:
            raise UnauthorizedError(f'serviceaccounts "{bound.serviceaccount.name}" not found')
        if account.uid != bound.serviceaccount.uid:
            uid = bound.serviceaccount.uid
            raise UnauthorizedError(f"service account UID ({account.uid}) does not match claim ({uid})")
        await self._check_bound("secrets", bound.namespace, "secret", bound.secret)
        await self._check_bound("pods", bound.namespace, "pod", bound.pod)
        if bound.pod is None:  # a pod's token lives as long as the pod, wherever it ran
            await self._check_bound("nodes", "", "node", bound.node)

    async def _check_bound(self, plural: str, namespace: str, what: str, reference: Reference | None) -> None:
        if reference is None:
            return
        found = await self._present(plural, namespace, reference.name)
        if found is None:
            raise UnauthorizedError("service account token has been invalidated")
        if found.uid != reference.uid:
            raise UnauthorizedError(
                f"{what} UID ({found.uid}) does not match service account {what} ref claim ({reference.uid})"
            )

    async def _present(self, plural: str, namespace: str, name: str) -> Cached | None:
        """Return an object that is there, or has been on its way out for no longer than the leeway."""
        key = ObjectKey("", plural, namespace, name)
        found = self._cache.get(key)
        if found is None:  # it may have been created a moment ago, through another process
            await self._cache.catch_up()
            found = self._cache.get(key)
        if found is None or b'"deletionTimestamp"' not in found.json:
            return found
        deleted = _object(found.json).metadata.deletion_timestamp
        gone = deleted is not None and parse_rfc3339(deleted) < self._clock.now() - timedelta(seconds=LEEWAY)
        return None if gone else found


def _verify(keys: SigningKeys, token: str) -> Claims:
    payload = keys.verify(token)
    if payload is None:
        raise UnauthorizedError("failed to verify the signature: no key of the issuer has made it")
    try:
        return _claims(payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnauthorizedError(f"the token's claims are malformed: {error}") from error


def _caller(claims: Claims) -> Caller:
    bound = claims.kubernetes
    extra: list[tuple[str, tuple[str, ...]]] = []
    if claims.jti:
        extra.append((CREDENTIAL_ID, (f"JTI={claims.jti}",)))
    for what, reference in (("node", bound.node), ("pod", bound.pod)):
        if reference is not None:
            extra.append((f"{_EXTRA}{what}-name", (reference.name,)))
            if reference.uid:
                extra.append((f"{_EXTRA}{what}-uid", (reference.uid,)))
    return Caller(
        user=f"{USER_PREFIX}{bound.namespace}:{bound.serviceaccount.name}",
        groups=(SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{bound.namespace}", AUTHENTICATED),
        uid=bound.serviceaccount.uid,
        extra=tuple(extra),
    )


def _listed(audiences: Sequence[str]) -> str:
    return f"[{' '.join(msgspec.json.encode(one).decode() for one in audiences)}]"
