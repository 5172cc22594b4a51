"""The keys that service accounts' tokens are signed with: RS256 for RSA keys, ES256 to ES512 for those on curves.

They are rotated in their file: it is read again when it has changed, every few seconds, and at once when a token names
a key that is not known, which another process may have begun to sign with a moment ago.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ConfigError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

log = logging.getLogger(__name__)

RELOADS: Final = Counter(
    "orch_api_service_account_key_reloads", "Times that the file of the signing keys had changed", ("result",)
)

PERIOD: Final = 5.0
"""Seconds between two looks at the file."""
_PATIENCE: Final = 1.0
"""Seconds between two looks for the sake of tokens that name unknown keys."""

_BLOCK: Final = re.compile(rb"-----BEGIN (?P<kind>[A-Z ]*)-----.*?-----END (?P=kind)-----", re.DOTALL)
_CURVES: Final = {256: "ES256", 384: "ES384", 521: "ES512"}


class VerificationKey(msgspec.Struct, frozen=True):
    """What a signature is verified by. `id` is derived from the key, as Kubernetes does."""

    id: str
    algorithm: str
    public: PublicKey

    def jwk(self) -> dict[str, Any]:
        """Return the key as others read it (RFC 7517)."""
        public = self.public
        of_curve = isinstance(public, ec.EllipticCurvePublicKey)
        parts: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(public) if of_curve else RSAAlgorithm.to_jwk(public))
        parts.pop("key_ops", None)
        return {"use": "sig", "kid": self.id, "alg": self.algorithm, **parts}


class SigningKeys:
    """One key that signs, and all by which signatures are verified: old keys stay until their tokens have ended."""

    def __init__(self, private: PrivateKey, others: Sequence[PublicKey] = ()) -> None:
        self._private = private
        keys = [_verification_key(public) for public in (private.public_key(), *others)]
        self._signer: Final = keys[0]
        self._keys: Final = {key.id: key for key in keys}
        self._jws: Final = jwt.PyJWS()

    @classmethod
    def generate(cls) -> SigningKeys:
        """Return a new key, known to this process alone."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, path: Path, setting: str) -> SigningKeys:
        """Return the keys of a PEM file: the first private one signs. Raises ConfigError naming `setting`."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(setting, str(error)) from error
        private: list[PrivateKey] = []
        public: list[PublicKey] = []
        for found in _BLOCK.finditer(content):
            try:
                if b"PRIVATE KEY" in found["kind"]:
                    key = _supported(load_pem_private_key(found[0], password=None), setting)
                else:
                    key = _supported(load_pem_public_key(found[0]), setting)
            except (ValueError, TypeError, UnsupportedAlgorithm) as error:
                raise ConfigError(setting, f"{path} holds a key that cannot be read: {error}") from error
            if isinstance(key, PrivateKey):
                private.append(key)
            else:
                public.append(key)
        if not private:
            raise ConfigError(setting, f"{path} holds no private key in PEM")
        return cls(private[0], [*(key.public_key() for key in private[1:]), *public])

    @property
    def algorithms(self) -> list[str]:
        """The algorithms of all keys."""
        return sorted({key.algorithm for key in self._keys.values()})

    def sign(self, payload: bytes) -> str:
        """Return a token with this payload (a JWS in its compact form)."""
        key = self._signer
        return self._jws.encode(payload, self._private, key.algorithm, {"kid": key.id, "typ": None})

    def knows(self, token: str) -> bool:
        """Return whether a token names one of the keys, or none at all. Nothing is verified."""
        named = _named_key(token)
        return named is None or named in self._keys

    def verify(self, token: str) -> bytes | None:
        """Return the payload of a token, None when no key has signed it.

        The algorithm is the key's own: what the token says of it, or of places to find keys, does not count.
        """
        if (named := _named_key(token)) is None:
            candidates = list(self._keys.values())
        else:
            candidates = [self._keys[named]] if named in self._keys else list(self._keys.values())
        for key in candidates:
            try:
                payload: bytes = self._jws.decode_complete(token, key.public, [key.algorithm])["payload"]
            except jwt.InvalidTokenError:
                continue
            return payload
        return None

    def jwks(self) -> dict[str, Any]:
        """Return the keys by which others verify tokens."""
        return {"keys": [key.jwk() for key in self._keys.values()]}


class Keys(Protocol):
    """Where the keys come from."""

    @property
    def current(self) -> SigningKeys:
        """The keys as they are now."""
        ...

    def look(self) -> bool:
        """Look for new keys; return whether there are some."""
        ...


class FixedKeys:
    """Keys that stay as they are."""

    def __init__(self, keys: SigningKeys) -> None:
        self.current = keys

    def look(self) -> bool:
        """There are never new ones."""
        return False


class KeyFile:
    """The keys of a file. What cannot be read, or holds no signing key, is reported; the keys before it stay."""

    def __init__(self, path: Path, setting: str, clock: Clock) -> None:
        self._path = path
        self._setting = setting
        self._clock = clock
        self._seen = self._state()
        self._looked = clock.monotonic()
        self.current = SigningKeys.read(path, setting)

    async def run(self) -> None:
        """Look at the file every few seconds, for ever."""
        while True:
            await self._clock.sleep(PERIOD)
            self._reload()

    def look(self) -> bool:
        """Look for new keys unless that was done a moment ago; return whether there are some."""
        now = self._clock.monotonic()
        if now - self._looked < _PATIENCE:
            return False
        self._looked = now
        return self._reload()

    def _reload(self) -> bool:
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self.current = SigningKeys.read(self._path, self._setting)
        except ConfigError as error:
            RELOADS.labels("failure").inc()
            log.error("the signing keys stay as they were: %s", error)
            return False
        RELOADS.labels("success").inc()
        log.info("the signing keys were read again from %s", self._path)
        return True

    def _state(self) -> tuple[int, int, int]:
        """Return what changes when the file does; a file that is gone is one that changed."""
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def _named_key(token: str) -> str | None:
    """Return the id of the key that a token's header names, None when it names none or is no header."""
    try:
        found = jwt.get_unverified_header(token).get("kid")
    except (jwt.InvalidTokenError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def _supported(key: Any, setting: str) -> PrivateKey | PublicKey:
    if isinstance(key, PrivateKey | PublicKey):
        return key
    raise ConfigError(setting, "only RSA keys and keys on elliptic curves can sign tokens")


def _verification_key(public: PublicKey) -> VerificationKey:
    if isinstance(public, rsa.RSAPublicKey):
        algorithm = "RS256"
    else:
        algorithm = _CURVES.get(public.curve.key_size, "")
        if not algorithm:
            raise ConfigError("service_account_key_file", f"the curve {public.curve.name} cannot sign tokens")
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    return VerificationKey(digest, algorithm, public)
