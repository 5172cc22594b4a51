"""The cluster's authority: signs requests with the key that it is given a file of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from orch.errors import ConfigError
from orch_controllers.certificates.signers import alternative_names

_BACKDATE: Final = timedelta(minutes=5)
_KEY_USAGES: Final = frozenset({"digital signature", "key encipherment"})
_EXTENDED: Final[Mapping[str, x509.ObjectIdentifier]] = {
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
}


class Authority:
    """Signs certificates that are valid for `longest` seconds at most, and never longer than its own."""

    def __init__(self, certificate: Path, key: Path, longest: float) -> None:
        self._certificate = _load_certificate(certificate)
        self._key = _load_key(key)
        self._longest = longest
        if self._key.public_key() != self._certificate.public_key():
            raise ConfigError("cluster_signing_key_file", "is not the key of cluster_signing_cert_file")

    def sign(
        self, request: x509.CertificateSigningRequest, usages: tuple[str, ...], seconds: int | None, now: datetime
    ) -> bytes:
        """Return a certificate (PEM) that says what the request says."""
        asked = self._longest if seconds is None else min(seconds, self._longest)
        until = min(now + timedelta(seconds=asked), self._certificate.not_valid_after_utc)
        public = request.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if _KEY_USAGES.intersection(usages):  # one that permits nothing is no valid extension
            builder = builder.add_extension(_key_usage(usages), critical=True)
        if purposes := [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if (names := alternative_names(request)) is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_usage(usages: tuple[str, ...]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital signature" in usages,
        content_commitment=False,
        key_encipherment="key encipherment" in usages,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError("cluster_signing_cert_file", str(error)) from error


def _load_key(file: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError("cluster_signing_key_file", str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError("cluster_signing_key_file", "is neither an RSA key nor one on an elliptic curve")
    return key
