"""The keys that service accounts' tokens are signed with: RS256 for RSA keys, ES256 to ES512 for those on curves."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

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

from orch.errors import ConfigError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

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

    def verify(self, token: str) -> bytes | None:
        """Return the payload of a token, None when no key has signed it."""
        try:
            named = self._keys.get(str(self._jws.get_unverified_header(token).get("kid")))
        except jwt.InvalidTokenError:
            return None
        for key in self._keys.values() if named is None else (named,):
            try:
                payload: bytes = self._jws.decode_complete(token, key.public, [key.algorithm])["payload"]
            except jwt.InvalidTokenError:
                continue
            return payload
        return None

    def jwks(self) -> dict[str, Any]:
        """Return the keys by which others verify tokens."""
        return {"keys": [key.jwk() for key in self._keys.values()]}


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
