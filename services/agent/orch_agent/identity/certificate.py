"""A node's client certificate: asked for by a CertificateSigningRequest, with a new key each time."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orch.bus.permissions import NODE_PREFIX
from orch.errors import ForbiddenError, UnavailableError
from orch.objects.certificates import CertificateSigningRequest
from orch_agent.identity.api import HttpsApi

_PATH: Final = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_SIGNER: Final = "kubernetes.io/kube-apiserver-client-kubelet"
_NODES: Final = "system:nodes"
_PATIENCE: Final = 60.0
_PAUSE: Final = 0.2


def obtain(api: HttpsApi, node: str, file: Path, *, seconds: int | None = None) -> None:
    """Have a certificate signed for a new key, and put both into `file` in one step.

    `seconds`: how long it shall be valid, at least 600; None: as long as the signer likes. Raises ForbiddenError when
    it is denied, UnavailableError when nobody signs it within a minute, and what the api answers.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _NODES),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{NODE_PREFIX}{node}"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    spec: dict[str, object] = {
        "request": base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": _SIGNER,
        "usages": ["digital signature", "client auth"],
        **({} if seconds is None else {"expirationSeconds": seconds}),
    }
    document = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "node-csr-"},
        "spec": spec,
    }
    name = api.create(_PATH, document, CertificateSigningRequest).metadata.name
    certificate = _signed(api, name)
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(file, certificate + encoded)


def _signed(api: HttpsApi, name: str) -> bytes:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        csr = api.get(f"{_PATH}/{name}", CertificateSigningRequest)
        for kind in ("Denied", "Failed"):
            if (found := csr.decided(kind)) is not None:
                raise ForbiddenError(f"the request {name} for a certificate is refused: {found.message or kind}")
        if csr.status.certificate:
            return base64.b64decode(csr.status.certificate)
        time.sleep(_PAUSE)
    raise UnavailableError(f"nobody has signed the request {name} for a certificate within {_PATIENCE:g} s")


class Span(msgspec.Struct, frozen=True):
    """From when until when a certificate counts, in seconds since the epoch."""

    begins: float
    ends: float


def span_of(file: Path) -> Span:
    """Return the time of a certificate. It begins when the file was written: its own beginning is set back a little.

    Raises OSError, and ValueError for what is no certificate.
    """
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    begins = max(certificate.not_valid_before_utc.timestamp(), file.stat().st_mtime)
    return Span(begins, certificate.not_valid_after_utc.timestamp())


def write_private(path: Path, content: bytes) -> None:
    """Write a file in one step, which nobody else can read, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    scratch.replace(path)
