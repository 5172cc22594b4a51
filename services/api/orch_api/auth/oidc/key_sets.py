"""Issuers' published keys (RFC 7517), and the signatures that they verify.

A key verifies only by the algorithms that its own kind and curve allow. What a token's header says beside the
algorithm and the key's id does not count: a key in it, or the address of one, is the attacker's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from orch.errors import UnauthorizedError

log = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""The algorithms that may sign: neither `none` nor shared secrets."""

_MOST: Final = 100
_SMALLEST: Final = 2048
_BY_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class PublishedKey(msgspec.Struct, frozen=True):
    """A key that may verify, by `algorithms`. `id` may be empty."""

    id: str
    algorithms: frozenset[str]
    public: Any


class _JsonKey(msgspec.Struct, frozen=True):
    kty: str = ""
    kid: str = ""
    use: str = ""
    alg: str = ""


class _JsonKeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


_decode: Final = msgspec.json.Decoder(_JsonKeySet).decode
_claims: Final = msgspec.json.Decoder(dict[str, Any]).decode


class KeySet:
    """An issuer's keys as they were published."""

    def __init__(self, keys: Sequence[PublishedKey]) -> None:
        self._keys = keys
        self._jws = jwt.PyJWS(algorithms=list(ALGORITHMS))

    @classmethod
    def parse(cls, document: bytes) -> KeySet:
        """Return the keys of a JSON Web Key Set; those that cannot verify are left out. Raises ValueError."""
        try:
            listed = _decode(document).keys
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"failed to decode keys: {error}") from error
        if len(listed) > _MOST:
            raise ValueError(f"there are {len(listed)} keys, more than {_MOST}")
        return cls([found for one in listed if (found := _published(one)) is not None])

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._keys)

    def verify(self, token: str) -> Mapping[str, Any] | None:
        """Return what a token claims, None when no key has signed it. Raises UnauthorizedError when it is malformed."""
        try:
            header: Mapping[str, Any] = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, RecursionError) as error:
            raise UnauthorizedError(f"oidc: malformed jwt: {error}") from error
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            allowed = " ".join(f'"{one}"' for one in ALGORITHMS)
            raise UnauthorizedError(f"oidc: id token signed with unsupported algorithm, expected [{allowed}]")
        if "crit" in header:
            raise UnauthorizedError("oidc: malformed jwt: its header has critical extensions")
        wanted = header.get("kid") or ""
        for key in self._keys:
            if algorithm not in key.algorithms or (wanted and key.id and key.id != wanted):
                continue
            try:
                payload: bytes = self._jws.decode_complete(token, key.public, [algorithm])["payload"]
            except jwt.InvalidTokenError:
                continue
            try:
                return _claims(payload)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise UnauthorizedError(f"oidc: failed to unmarshal claims: {error}") from error
        return None


def _published(parts: dict[str, Any]) -> PublishedKey | None:
    try:
        about = msgspec.convert(parts, _JsonKey)
        if about.use not in {"", "sig"} or about.kty not in {"RSA", "EC"}:
            return None
        public = jwt.PyJWK(parts, _algorithm_to_read(about)).key
        allowed = _allowed(public)
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError) as error:
        log.warning("a published key cannot be read and is left out: %s", error)
        return None
    if about.alg:
        allowed &= {about.alg}
    return PublishedKey(about.kid, allowed, public) if allowed else None


def _algorithm_to_read(about: _JsonKey) -> str:
    """Return an algorithm of the key's kind, by which the library reads it: what it may verify is decided here."""
    return "RS256" if about.kty == "RSA" else "ES256"


def _allowed(public: Any) -> frozenset[str]:
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < _SMALLEST:
            log.warning("a published RSA key of %d bits is too short and is left out", public.key_size)
            return frozenset()
        return frozenset(one for one in ALGORITHMS if one[:2] in {"RS", "PS"})
    if isinstance(public, ec.EllipticCurvePublicKey) and (one := _BY_CURVE.get(public.curve.name)):
        return frozenset({one})
    return frozenset()
