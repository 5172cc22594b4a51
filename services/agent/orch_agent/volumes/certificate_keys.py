"""Keys of pods' certificates, and what a certificate says of itself. Loaded by nodes of which a pod asks for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_EXPONENT: Final = 65537
_MAKERS: Final[Mapping[str, Callable[[], _Key]]] = {
    "RSA3072": lambda: rsa.generate_private_key(_EXPONENT, 3072),
    "RSA4096": lambda: rsa.generate_private_key(_EXPONENT, 4096),
    "ECDSAP256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSAP384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSAP521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ED25519": ed25519.Ed25519PrivateKey.generate,
}


def new_key(kind: str) -> tuple[bytes, bytes]:
    """Return a new key as PEM, and an empty request that it has signed as DER. Raises KeyError for an unknown kind."""
    key = _MAKERS[kind]()
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, request.public_bytes(Encoding.DER)


def lifetime(key: bytes, chain: bytes) -> tuple[datetime, datetime]:
    """Return when the first certificate of a chain begins and ends. Raises ValueError unless it is this key's."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    if load_pem_private_key(key, None).public_key() != leaf.public_key():
        raise ValueError("the certificate is for another key")
    return leaf.not_valid_before_utc, leaf.not_valid_after_utc
