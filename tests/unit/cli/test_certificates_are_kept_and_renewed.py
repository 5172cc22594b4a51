from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from orch_cli.identities import API_HOSTS, issue_identities
from orch_cli.pki import Authority, Leaf

LEAF = Leaf(name="api", common_name="system:node:a", organizations=("system:nodes",), client=True)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_second_run_keeps_every_certificate(tmp_path: Path) -> None:
    first = Authority(tmp_path, "ca").issue(LEAF)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert Authority(tmp_path, "ca").issue(LEAF) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_leaf_is_renewed_in_its_last_month_and_not_before(tmp_path: Path) -> None:
    first = Authority(tmp_path, "ca").issue(LEAF).certificate.read_bytes()
    day_334 = datetime.now(UTC) + timedelta(days=334)
    assert Authority(tmp_path, "ca", now=day_334).issue(LEAF).certificate.read_bytes() == first
    day_336 = datetime.now(UTC) + timedelta(days=336)
    assert Authority(tmp_path, "ca", now=day_336).issue(LEAF).certificate.read_bytes() != first


def test_a_renewed_authority_still_vouches_for_its_old_leaves(tmp_path: Path) -> None:
    Authority(tmp_path, "ca").issue(LEAF)
    leaf_before, ca_before = (tmp_path / "api.crt").read_bytes(), read(tmp_path / "ca.crt")
    in_ten_years = datetime.now(UTC) + timedelta(days=3640)
    Authority(tmp_path, "ca", now=in_ten_years)
    renewed = read(tmp_path / "ca.crt")
    assert renewed.serial_number != ca_before.serial_number
    assert renewed.public_key() == ca_before.public_key()
    x509.load_pem_x509_certificate(leaf_before).verify_directly_issued_by(renewed)


@pytest.mark.parametrize(
    "changed",
    [
        Leaf(name="api", common_name="system:node:b", organizations=("system:nodes",), client=True),
        Leaf(name="api", common_name="system:node:a", client=True),
        Leaf(name="api", common_name="system:node:a", organizations=("system:nodes",), client=True, server=True),
        Leaf(name="api", common_name="system:node:a", organizations=("system:nodes",), client=True, hosts=("a", "::1")),
    ],
)
def test_a_leaf_that_shall_say_something_else_is_made_anew_with_the_same_key(tmp_path: Path, changed: Leaf) -> None:
    authority = Authority(tmp_path, "ca")
    first = read(authority.issue(LEAF).certificate)
    second = read(authority.issue(changed).certificate)
    assert first.serial_number != second.serial_number
    assert first.public_key() == second.public_key()
    assert read(authority.issue(changed).certificate) == second


@pytest.mark.parametrize("name", ["api.crt", "api.key", "ca.crt", "ca.key"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n"])
def test_a_lost_or_damaged_file_is_replaced_by_one_that_fits_the_others(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    Authority(tmp_path, "ca").issue(LEAF)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    pair = Authority(tmp_path, "ca").issue(LEAF)
    read(pair.certificate).verify_directly_issued_by(read(pair.authority))
    ssl.create_default_context(cafile=str(pair.authority)).load_cert_chain(pair.certificate, pair.key)


def test_extensions_satisfy_strict_verification(tmp_path: Path) -> None:
    identities = issue_identities(tmp_path, ["node-1"])
    store = x509.verification.Store([read(identities.api_server.authority)])
    verifier = x509.verification.PolicyBuilder().store(store)
    for host in ("localhost", "kubernetes.default.svc"):
        verifier.build_server_verifier(x509.DNSName(host)).verify(read(identities.api_server.certificate), [])
    authority = read(identities.api_server.authority)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    for pair in (identities.clients["node-1"].pair, identities.etcd_server, identities.nats_server):
        extensions = read(pair.certificate).extensions
        assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_names_are_kubernetes_own(tmp_path: Path) -> None:
    identities = issue_identities(tmp_path, ["node-1"])
    assert read(identities.clients["node-1"].pair.certificate).subject.rfc4514_string() == (
        "CN=system:node:node-1,O=system:nodes"
    )
    assert read(identities.clients["admin"].pair.certificate).subject.rfc4514_string() == (
        "CN=orch:admin,O=system:masters"
    )
    names = read(identities.api_server.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert {str(name.value) for name in names.value} == set(API_HOSTS)


def test_a_certificate_for_the_api_does_not_open_the_store(tmp_path: Path) -> None:
    identities = issue_identities(tmp_path, ["node-1"])
    api_authority, etcd_authority = read(identities.api_server.authority), read(identities.etcd_server.authority)
    assert api_authority.public_key() != etcd_authority.public_key()
    assert set(identities.etcd_clients) == {"root", "api", "scheduler", "controllers"}


def test_only_the_owner_reads_keys(tmp_path: Path) -> None:
    issue_identities(tmp_path / "pki", ["node-1"])
    for path in (tmp_path / "pki").rglob("*"):
        if path.suffix in {".key", ".nkey"}:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
