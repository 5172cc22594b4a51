"""Requests are approved when a node asks for itself, signed when approved and fit, and cleared away."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from memory_cluster import Cluster
from workloads import NOW, ago

from orch.errors import ConfigError
from orch.objects.certificates import CertificateSigningRequest, SigningRequestSpec, SigningRequestStatus
from orch.objects.meta import Condition, ObjectMeta
from orch.objects.scheme import CERTIFICATE_SIGNING_REQUESTS as REQUESTS
from orch_cli.pki import Authority as Issuer
from orch_controllers.certificates.ages import seconds_left
from orch_controllers.certificates.authority import Authority
from orch_controllers.certificates.signers import (
    API_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    UnfitError,
    check,
    parse,
)

CLIENT = ("digital signature", "client auth")
SERVER = ("digital signature", "key encipherment", "server auth")
NODE = ("system:nodes", "system:node:node-1")
DNS, ADDRESS = x509.DNSName("node-1"), x509.RFC822Name("a@example.com")
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(organization: str, name: str, names: Sequence[x509.GeneralName] = ()) -> str:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return base64.b64encode(made).decode()


def request(signer: str, usages: Sequence[str], body: str) -> CertificateSigningRequest:
    return CertificateSigningRequest(spec=SigningRequestSpec(request=body, signer_name=signer, usages=tuple(usages)))


@pytest.mark.parametrize(
    ("signer", "usages", "body", "problem"),
    [
        (API_CLIENT, CLIENT, pem("", "jane"), ""),
        (API_CLIENT, ("client auth", "key encipherment"), pem("", "jane"), ""),
        (API_CLIENT, ("digital signature",), pem("", "jane"), "missing required usage for client certificate"),
        (API_CLIENT, SERVER, pem("", "jane"), "invalid usage for client certificate: server auth"),
        (KUBELET_CLIENT, CLIENT, pem(*NODE), ""),
        (KUBELET_CLIENT, (*CLIENT, "key encipherment"), pem(*NODE), ""),
        (KUBELET_CLIENT, SERVER, pem(*NODE), "usages did not match"),
        (KUBELET_CLIENT, CLIENT, pem("people", NODE[1]), "subject organization is not system:nodes"),
        (KUBELET_CLIENT, CLIENT, pem("system:nodes", "jane"), "common name does not begin with system:node:"),
        (KUBELET_CLIENT, CLIENT, pem(*NODE, [DNS]), "DNS subjectAltNames are not allowed"),
        (KUBELET_SERVING, SERVER, pem(*NODE, [DNS]), ""),
        (KUBELET_SERVING, SERVER, pem(*NODE), "at least one DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, SERVER, pem(*NODE, [DNS, ADDRESS]), "Email subjectAltNames are not allowed"),
        (KUBELET_SERVING, CLIENT, pem(*NODE, [DNS]), "usages did not match"),
    ],
)
def test_what_signers_sign(signer: str, usages: Sequence[str], body: str, problem: str) -> None:
    csr = request(signer, usages, body)
    if not problem:
        check(csr, parse(csr))
        return
    with pytest.raises(UnfitError, match=problem):
        check(csr, parse(csr))


@pytest.mark.parametrize("body", ["", "!", base64.b64encode(b"no request").decode()])
def test_what_is_no_request(body: str) -> None:
    with pytest.raises(UnfitError, match="unable to parse csr"):
        parse(request(API_CLIENT, CLIENT, body))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pki")
    Issuer(found, "orch", now=datetime(2026, 1, 1, tzinfo=UTC))
    return found


def test_a_certificate_says_what_was_asked_for_and_no_more(folder: Path) -> None:
    authority = Authority(folder / "ca.crt", folder / "ca.key", 86_400)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    asked = parse(request(KUBELET_SERVING, SERVER, pem(*NODE, [DNS])))
    made = x509.load_pem_x509_certificate(authority.sign(asked, SERVER, 10**9, now))
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    made.verify_directly_issued_by(issuer)
    assert made.subject == asked.subject
    assert made.not_valid_after_utc == now + timedelta(days=1)
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node-1"]
    plain = x509.load_pem_x509_certificate(authority.sign(asked, ("client auth",), None, now))
    assert not [each for each in plain.extensions if isinstance(each.value, x509.KeyUsage)]
    short = x509.load_pem_x509_certificate(authority.sign(asked, SERVER, 600, now))
    assert short.not_valid_after_utc == now + timedelta(seconds=600)
    late = x509.load_pem_x509_certificate(authority.sign(asked, SERVER, None, issuer.not_valid_after_utc))
    assert late.not_valid_after_utc == issuer.not_valid_after_utc


def test_a_key_of_another_is_refused(folder: Path, tmp_path: Path) -> None:
    Issuer(tmp_path, "other")
    with pytest.raises(ConfigError, match="cluster_signing_key_file: is not the key of"):
        Authority(folder / "ca.crt", tmp_path / "ca.key", 86_400)


@pytest.fixture
async def cluster(cluster: Cluster, folder: Path) -> Cluster:
    cluster.processes[0][1].cancel()
    files = {"cluster_signing_cert_file": str(folder / "ca.crt"), "cluster_signing_key_file": str(folder / "ca.key")}
    await cluster.controllers("signer", **files)
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    return cluster


async def ask(cluster: Cluster, name: str, signer: str, usages: Sequence[str], body: str) -> None:
    spec = {"request": body, "signerName": signer, "usages": list(usages)}
    await cluster.client.create(REQUESTS, "", {"metadata": {"name": name}, "spec": spec})


async def decide(cluster: Cluster, name: str, kind: str, at: str = "") -> None:
    condition = {"type": kind, "status": "True", "reason": "Test", "message": "by the test"}
    condition |= {"lastUpdateTime": at} if at else {}
    patch = {"status": {"conditions": [condition]}}
    await cluster.client.patch(REQUESTS, "", name, patch, subresource="approval")


async def until(cluster: Cluster, name: str, holds: Any, seconds: float = 10) -> CertificateSigningRequest:
    async def check_() -> bool:
        return holds(await cluster.client.get(REQUESTS, "", name))

    await cluster.eventually(check_, seconds)
    return await cluster.client.get(REQUESTS, "", name)


async def test_what_is_approved_is_signed(cluster: Cluster) -> None:
    await ask(cluster, "jane", API_CLIENT, CLIENT, pem("", "jane"))
    await cluster.settled(1)
    assert not (await cluster.client.get(REQUESTS, "", "jane")).status.certificate
    await decide(cluster, "jane", "Approved")
    found = await until(cluster, "jane", lambda csr: csr.status.certificate)
    made = x509.load_pem_x509_certificate(base64.b64decode(found.status.certificate))
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "jane"


async def test_what_is_denied_or_another_signers_is_not_signed(cluster: Cluster) -> None:
    await ask(cluster, "denied", API_CLIENT, CLIENT, pem("", "jane"))
    await decide(cluster, "denied", "Denied")
    await ask(cluster, "theirs", "example.com/signer", CLIENT, pem("", "jane"))
    await decide(cluster, "theirs", "Approved")
    await cluster.settled(1)
    for name in ("denied", "theirs"):
        assert not (await cluster.client.get(REQUESTS, "", name)).status.certificate


async def test_what_does_not_fit_its_signer_fails(cluster: Cluster) -> None:
    await ask(cluster, "odd", KUBELET_SERVING, SERVER, pem(*NODE))
    await decide(cluster, "odd", "Approved")
    found = await until(cluster, "odd", lambda csr: csr.decided("Failed"))
    failed = found.decided("Failed")
    assert failed is not None
    assert failed.reason == "SignerValidationFailure"
    assert failed.message == "at least one DNS or IP subjectAltName is required"


async def test_a_node_that_may_ask_for_itself_is_approved(cluster: Cluster) -> None:
    await ask(cluster, "node", KUBELET_CLIENT, CLIENT, pem(*NODE))  # asked by an administrator, who may all
    found = await until(cluster, "node", lambda csr: csr.status.certificate)
    approved = found.decided("Approved")
    assert approved is not None
    assert approved.reason == "AutoApproved"
    assert approved.message == "Auto approving kubelet client certificate after SubjectAccessReview."


def aged(certificate: str = "", created: float = 0, **decided: float) -> CertificateSigningRequest:
    """Return a request of an age in hours; `decided` has the age of each condition."""
    conditions = tuple(
        Condition(type=kind, status="True", last_update_time=ago(hours * 3600)) for kind, hours in decided.items()
    )
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="x", creation_timestamp=ago(created * 3600)),
        status=SigningRequestStatus(conditions=conditions, certificate=certificate),
    )


@pytest.mark.parametrize(
    ("csr", "hours"),
    [
        (aged(created=23), 1),
        (aged(created=25), -1),
        (aged(created=99, Approved=98), math.inf),
        (aged("unreadable", created=99, Approved=0.5), 0.5),
        (aged("unreadable", created=99, Approved=2), -1),
        (aged(created=99, Denied=0.5), 0.5),
        (aged(created=99, Approved=3, Failed=2), -1),
    ],
)
def test_when_requests_are_cleared_away(csr: CertificateSigningRequest, hours: float) -> None:
    assert seconds_left(csr, NOW) == pytest.approx(hours * 3600)


async def test_an_old_request_is_cleared_away(cluster: Cluster) -> None:
    await ask(cluster, "old", API_CLIENT, CLIENT, pem("", "jane"))
    await decide(cluster, "old", "Denied", at="2025-12-31T00:00:00Z")

    async def gone() -> bool:
        return not await cluster.exists(REQUESTS, "", "old")

    await cluster.eventually(gone, 5)
