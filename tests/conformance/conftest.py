"""A whole api in memory for each test, and its administrator."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from expecting_client import Client

from orch_api.memory import in_memory_api


@pytest.fixture
async def api() -> AsyncIterator[Client]:
    async with in_memory_api() as memory:
        yield Client(memory)


@pytest.fixture(scope="session")
def csr() -> str:
    """Return a certificate signing request as documents carry it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e-host")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
