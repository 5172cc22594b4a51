"""Certificates that pods ask for in projected volumes: requested once, shown with their key, made anew in time."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from volume_node import Api, VolumeNode, files_below

from orch.clock import rfc3339

REQUESTS = "podcertificaterequests"
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])


class Signers(Api):
    """An api that keeps requests for certificates, and a signer that answers them when the test says so."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.requests: list[dict[str, Any]] = []
        self.answer = "Issued"
        self.put("serviceaccounts", "robot")
        self.put("nodes", "node-1", namespace="")

    async def create(
        self, kind: Any, namespace: str, body: Mapping[str, Any], *, name: str = "", subresource: str = ""
    ) -> Any:
        assert (kind.resource, body["metadata"]["generateName"]) == (REQUESTS, "req-")
        self.requests.append(dict(body["spec"]))
        name = f"req-{len(self.requests)}"
        self.put(REQUESTS, name, status=self.status(body["spec"]))
        return msgspec.convert(self.objects[REQUESTS, "default", name], kind.view)

    def status(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        if not self.answer:
            return {}
        verdict = {"conditions": [{"type": self.answer, "status": "True", "message": "so it is"}]}
        if self.answer != "Issued":
            return verdict
        asked = x509.load_der_x509_csr(base64.b64decode(spec["stubPKCS10Request"]))
        assert asked.is_signature_valid
        now = self.clock.now()
        builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(asked.public_key())
        builder = builder.serial_number(len(self.requests)).not_valid_before(now)
        signed = builder.not_valid_after(now + timedelta(hours=10)).sign(self.key, hashes.SHA256())
        chain = signed.public_bytes(Encoding.PEM).decode()
        return {**verdict, "certificateChain": chain, "beginRefreshAt": rfc3339(now + timedelta(hours=5))}


@pytest.fixture
def signing(node: VolumeNode) -> VolumeNode:
    node.api = Signers(node.clock)
    node.started_again()
    return node


def pod(node: VolumeNode, **fields: Any) -> Any:
    wanted = {"signerName": "example.com/signer", "keyType": "ED25519", "credentialBundlePath": "bundle.pem", **fields}
    volume = {"name": "id", "projected": {"sources": [{"podCertificate": wanted}]}}
    return node.pod(volume, serviceAccountName="robot", securityContext={"fsGroup": os.getgid() or 1})


def serial(path: Path) -> int:
    """Return the number of the certificate that is shown, which must be its key's."""
    content = (path / "bundle.pem").read_bytes()
    leaf = x509.load_pem_x509_certificates(content)[0]
    assert load_pem_private_key(content, None).public_key() == leaf.public_key()
    return leaf.serial_number


async def looked(node: VolumeNode, seconds: float, number: int, path: Path) -> None:
    """Let time pass, and wait until that certificate is shown."""
    task = asyncio.create_task(node.volumes.run())
    await node.clock.advance(0)
    await node.clock.advance(seconds)
    left = 800  # by then all that is tried again is due; more would make requests too old
    async with asyncio.timeout(5):
        while serial(path) != number:
            await node.clock.advance(min(left, 1))
            left -= min(left, 1)
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_is_made_and_its_certificate_asked_for(signing: VolumeNode) -> None:
    path = await signing.shown(pod(signing, maxExpirationSeconds=36000, userAnnotations={"a.example/b": "c"}), "id")
    assert serial(path) == 1
    [asked] = signing.api.requests  # type: ignore[attr-defined] - the fixture's api
    del asked["stubPKCS10Request"]
    assert asked == {
        "signerName": "example.com/signer",
        "podName": "web-1",
        "podUID": "u1",
        "serviceAccountName": "robot",
        "serviceAccountUID": "uid-robot",
        "nodeName": "node-1",
        "nodeUID": "uid-node-1",
        "maxExpirationSeconds": 36000,
        "unverifiedUserAnnotations": {"a.example/b": "c"},
    }
    assert stat.S_IMODE((path / "bundle.pem").stat().st_mode) & 0o007 == 0


async def test_key_and_chain_may_be_files_of_their_own(signing: VolumeNode) -> None:
    wanted = pod(
        signing, credentialBundlePath="", keyPath="key.pem", certificateChainPath="chain.pem", keyType="ECDSAP384"
    )
    path = await signing.shown(wanted, "id")
    assert set(files_below(path)) == {"key.pem", "chain.pem"}
    leaf = x509.load_pem_x509_certificate((path / "chain.pem").read_bytes())
    assert load_pem_private_key((path / "key.pem").read_bytes(), None).public_key() == leaf.public_key()


async def test_another_is_asked_for_when_its_signer_said_so(signing: VolumeNode) -> None:
    path = await signing.shown(pod(signing), "id")
    await looked(signing, 4 * 3600, 1, path)
    await looked(signing, 3600 + 60, 2, path)
    assert len(signing.api.requests) == 2  # type: ignore[attr-defined]


async def test_an_old_one_stays_while_no_other_is_issued(signing: VolumeNode) -> None:
    path = await signing.shown(pod(signing), "id")
    api: Any = signing.api
    api.answer = ""
    task = asyncio.create_task(signing.volumes.run())
    await signing.clock.advance(0)
    await signing.clock.advance(5 * 3600 + 60)
    async with asyncio.timeout(5):
        while len(api.requests) < 2:
            await signing.clock.advance(0)
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert serial(path) == 1


async def test_another_process_keeps_what_is_shown(signing: VolumeNode) -> None:
    made = pod(signing)
    path = await signing.shown(made, "id")
    signing.started_again()
    assert await signing.shown(made, "id") == path
    assert (serial(path), len(signing.api.requests)) == (1, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "fields", "problem"),
    [
        ("Denied", {}, "PodCertificateRequest req-1 was denied: so it is"),
        ("Failed", {}, "PodCertificateRequest req-1 failed: so it is"),
        ("Issued", {"keyType": "DSA"}, "keys of the type 'DSA' are not known"),
    ],
)
async def test_what_cannot_be_had_is_told(signing: VolumeNode, answer: str, fields: Any, problem: str) -> None:
    signing.api.answer = answer  # type: ignore[attr-defined]
    assert await signing.volumes.prepare(pod(signing, **fields)) is not None
    assert problem in signing.events[-1]
    assert "failed to get a certificate of example.com/signer" in signing.events[-1]


async def test_a_request_that_is_gone_is_made_anew(signing: VolumeNode) -> None:
    api: Any = signing.api
    wanted = pod(signing)
    api.answer = ""
    preparing = asyncio.create_task(signing.volumes.prepare(wanted))
    async with asyncio.timeout(5):
        while not preparing.done():
            await signing.clock.advance(0.2)
            await asyncio.sleep(0.001)
    assert "has not been issued yet" in signing.events[-1]
    del api.objects[REQUESTS, "default", "req-1"]
    api.answer = "Issued"
    for _ in range(2):
        await signing.clock.advance(1)
        await signing.volumes.prepare(wanted)
    assert len(api.requests) == 2
