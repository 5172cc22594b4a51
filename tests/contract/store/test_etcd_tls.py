"""The store on an etcd that wants TLS and client certificates."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orch.errors import ConfigError, UnavailableError
from orch.store.etcd import EtcdStore
from orch.store.protocol import Write

pytestmark = pytest.mark.etcd


class Authority:
    """A certificate authority that writes PEM files into its directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / "ca.crt"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for loopback, good for servers and clients, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate_file, key_file = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate_file, key_file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def url(authority: Authority, start_etcd: Callable[..., Any]) -> str:
    certificate, key = authority.issue("server")
    server = start_etcd(
        f"--cert-file={certificate}",
        f"--key-file={key}",
        f"--trusted-ca-file={authority.file}",
        "--client-cert-auth",
    )
    return server.url


async def test_reads_and_writes_with_a_client_certificate(authority: Authority, url: str) -> None:
    certificate, key = authority.issue("client")
    store = await EtcdStore.connect(endpoints=[url], ca=authority.file, cert=str(certificate), key=key)
    assert (await store.write(Write(b"/a", b"x", 0))).succeeded
    assert await store.get(b"/a") is not None
    await store.close()


async def test_is_refused_without_a_client_certificate(authority: Authority, url: str) -> None:
    with pytest.raises(UnavailableError):
        await EtcdStore.connect(endpoints=[url], ca=authority.file, dial_timeout=1)


async def test_refuses_a_server_of_another_authority(authority: Authority, url: str, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    certificate, key = authority.issue("client")
    with pytest.raises(UnavailableError, match="handshake failed"):
        await EtcdStore.connect(endpoints=[url], ca=other.file, cert=certificate, key=key, dial_timeout=1)


async def test_files_that_cannot_be_used_are_configuration_errors(authority: Authority, tmp_path: Path) -> None:
    endpoints = ["https://127.0.0.1:1"]
    with pytest.raises(ConfigError, match="ca_file: cannot read"):
        await EtcdStore.connect(endpoints=endpoints, ca=tmp_path / "absent.crt")
    certificate, _ = authority.issue("client")
    with pytest.raises(ConfigError, match="cert_file"):
        await EtcdStore.connect(endpoints=endpoints, ca=authority.file, cert=certificate)


async def test_files_that_were_replaced_count_with_the_next_connection(
    authority: Authority, tmp_path: Path, start_etcd: Callable[..., Any]
) -> None:
    used = [tmp_path / name for name in ("ca", "server.crt", "server.key", "client.crt", "client.key")]

    def put(from_authority: Authority) -> None:
        made = (from_authority.file, *from_authority.issue("server"), *from_authority.issue("client"))
        for source, target in zip(made, used, strict=True):
            target.write_bytes(source.read_bytes())

    put(authority)
    ca, server_certificate, server_key, certificate, key = used
    files = (f"--trusted-ca-file={ca}", f"--cert-file={server_certificate}", f"--key-file={server_key}")
    server = start_etcd(*files, "--client-cert-auth")
    store = await EtcdStore.connect(endpoints=[server.url], ca=ca, cert=certificate, key=key, request_timeout=20)
    assert (await store.write(Write(b"/a", b"x", 0))).succeeded
    server.kill()
    put(Authority(tmp_path / "another"))
    server.start()
    assert await store.get(b"/a") is not None
    await store.close()
