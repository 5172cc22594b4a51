"""Makes and renews the certificates of a local cluster.

Two authorities, as kubeadm has them: one for the API and the bus, one for etcd alone, so that no certificate that opens
the API opens the store as well. The extensions are those that Python 3.13's strict verification asks for. Whatever is
there and still good is kept; what is missing, changed or near its end is made anew.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

RENEW_BEFORE = timedelta(days=30)
AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
_BACKDATE = timedelta(minutes=5)
"""Clocks of two machines differ a little; a certificate is valid from shortly before it was made."""


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate shall say. `name` is also its files' name; `hosts` are DNS names and IP addresses."""

    name: str
    common_name: str
    organizations: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    server: bool = False
    client: bool = False


class KeyPair(msgspec.Struct, frozen=True):
    """Where a certificate and its key lie, and the authority that vouches for it."""

    authority: Path
    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a folder: ca.crt and ca.key, and the leaves that it signed."""

    def __init__(self, folder: Path, common_name: str, *, now: datetime | None = None, renew: bool = False) -> None:
        self._folder = folder
        self._now = now or datetime.now(UTC)
        self._renew = renew
        self.certificate_file = folder / "ca.crt"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = _load_key(folder / "ca.key")
        certificate = _load_certificate(self.certificate_file)
        if self._key is None or certificate is None or not _belongs(certificate, self._key):
            self._key = _new_key(folder / "ca.key")
            certificate = None
        if certificate is None or self._ends_soon(certificate):
            # The same key signs again: what it signed before stays valid.
            certificate = self._sign_itself(self._key, common_name)
            write_private(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
        self._certificate = certificate
        self._signer: ec.EllipticCurvePrivateKey = self._key

    def issue(self, leaf: Leaf) -> KeyPair:
        """Return the files of a valid certificate that says what `leaf` says; with `renew`, always of a new one."""
        pair = KeyPair(self.certificate_file, self._folder / f"{leaf.name}.crt", self._folder / f"{leaf.name}.key")
        key = _load_key(pair.key)
        certificate = _load_certificate(pair.certificate)
        good = key is not None and certificate is not None and self._still_good(certificate, key, leaf)
        if good and not self._renew:
            return pair
        key = key or _new_key(pair.key)
        certificate = self._sign(leaf, key.public_key())
        write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
        return pair

    def _still_good(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, leaf: Leaf) -> bool:
        if self._ends_soon(certificate) or not _belongs(certificate, key):
            return False
        if (
            certificate.subject != _subject(leaf.common_name, leaf.organizations)
            or _hosts_of(certificate) != leaf.hosts
        ):
            return False
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if list(usage) != _usages(leaf):
            return False
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        ours = x509.SubjectKeyIdentifier.from_public_key(self._signer.public_key())
        return authority.key_identifier == ours.digest

    def _ends_soon(self, certificate: x509.Certificate) -> bool:
        return certificate.not_valid_after_utc - self._now < RENEW_BEFORE

    def _sign_itself(self, key: ec.EllipticCurvePrivateKey, common_name: str) -> x509.Certificate:
        subject = _subject(common_name, ())
        return (
            self._builder(subject, subject, key.public_key(), AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )

    def _sign(self, leaf: Leaf, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        issuer_key = self._signer.public_key()
        builder = (
            self._builder(
                _subject(leaf.common_name, leaf.organizations), self._certificate.subject, public_key, LEAF_LIFETIME
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_usages(leaf)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        )
        if leaf.hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in leaf.hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._signer, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _BACKDATE)
            .not_valid_after(self._now + lifetime)
        )


def signing_key(folder: Path) -> Path:
    """Return the file of the key that service accounts' tokens are signed with; one that is there and good is kept."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "service-accounts.key"
    if _load_key(path) is None:
        _new_key(path)
    return path


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file in one step, never readable by more than `mode` says, not even for a moment."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    scratch.replace(path)


def _subject(common_name: str, organizations: tuple[str, ...]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names)


def _usages(leaf: Leaf) -> list[x509.ObjectIdentifier]:
    usages: list[x509.ObjectIdentifier] = []
    if leaf.server:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    if leaf.client:
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return usages


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, encoded)
    return key


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _load_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _belongs(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()
