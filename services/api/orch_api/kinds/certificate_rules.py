"""Certificates, requests for them and the names of signers, as several kinds check them.

Sources: k8s.io/kubernetes/pkg/apis/certificates/validation and ValidateSignerName of pkg/apis/core/validation.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from orch.errors import Cause
from orch_api import validation
from orch_api.validation import invalid, required, too_long

CERTIFICATE: Final = "CERTIFICATE"
REQUEST: Final = "CERTIFICATE REQUEST"
OMITTED: Final = "<value omitted>"

_MAX_DOMAIN: Final = 253
_MAX_PATH: Final = 253 + 63 + 1
_MAX_BUNDLE: Final = 1024 * 1024
_BLOCK: Final = re.compile(
    r"^-----BEGIN (?P<kind>[^\n]*?)-----[ \t\r]*\n(?P<content>.*?)^-----END (?P=kind)-----", re.DOTALL | re.MULTILINE
)


class PemBlock(msgspec.Struct, frozen=True):
    """One block of a PEM text."""

    kind: str
    headers: bool
    der: bytes


def pem_blocks(text: str) -> list[PemBlock]:
    """Return the blocks of a PEM text in order; what stands between them, or is no base64, is passed over."""
    blocks: list[PemBlock] = []
    for found in _BLOCK.finditer(text.replace("\r\n", "\n")):
        lines = found["content"].split("\n")
        body = [line for line in lines if ":" not in line]
        try:
            der = base64.b64decode("".join("".join(body).split()), validate=True)
        except binascii.Error:
            continue
        blocks.append(PemBlock(found["kind"], len(body) != len(lines), der))
    return blocks


def plain(encoded: str) -> str:
    """Return what a field of bytes holds, as text."""
    return base64.b64decode(encoded).decode("latin-1")


def request_problem(encoded: str) -> str:
    """Return why a field of bytes holds no certificate request in PEM that its key has signed; "" if it does."""
    blocks = pem_blocks(plain(encoded))
    if not blocks or blocks[0].kind != REQUEST:
        return f"PEM block type must be {REQUEST}"
    try:
        request = x509.load_der_x509_csr(blocks[0].der)
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"x509: malformed certificate request: {error}"
    return "" if signed else "x509: the request's signature does not belong to its key"


def certificate_problem(encoded: str) -> str:
    """Return why a field of bytes does not hold certificates in PEM, nothing else; "" if it does, or is empty."""
    if not encoded:
        return ""
    blocks = pem_blocks(plain(encoded))
    for block in blocks:
        if block.kind != CERTIFICATE:
            return f'only CERTIFICATE PEM blocks are allowed, found "{block.kind}"'
        if block.headers:
            return "no PEM block headers are permitted"
        if parse_certificate(block.der) is None:
            return "x509: malformed certificate"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def parse_certificate(der: bytes) -> x509.Certificate | None:
    """Return the certificate, None when it is malformed."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        return None


def signer_name(at: str, name: str) -> list[Cause]:
    """Return why a text does not name a signer: example.com/signer-name."""
    if not name:
        return [required(at)]
    domain, slash, path = name.partition("/")
    if not slash or "/" in path:
        problem = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(at, name, problem)]
    causes = [too_long(at, _MAX_DOMAIN)] if len(domain) > _MAX_DOMAIN else []
    labels = domain.split(".")
    causes += _first_bad(at, domain, labels, validation.dns_label)
    if len(labels) < 2:
        causes.append(invalid(at, domain, "should be a domain with at least two segments separated by dots"))
    causes += _first_bad(at, path, path.split("."), validation.dns_subdomain)
    if len(name) > (limit := _MAX_DOMAIN + _MAX_PATH + 1):
        causes.append(too_long(at, limit))
    return causes


def _first_bad(at: str, text: str, labels: list[str], rule: validation.Rule) -> list[Cause]:
    """Return what is wrong with the first label that is refused; others would repeat it."""
    for label in labels:
        if problems := rule(label):
            return [invalid(at, text, f'validating label "{label}": {problem}') for problem in problems]
    return []


def bundle_name(name: str, signer: str) -> validation.Problems:
    """Return why a ClusterTrustBundle cannot have this name; those of a signer are named after it."""
    if not signer:
        if ":" in name:
            return ('ClusterTrustBundle without signer name must not have ":" in its name',)
        return validation.dns_subdomain(name)
    prefix = f"{signer.replace('/', ':')}:"
    if not name.startswith(prefix):
        return (f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}",)
    return validation.dns_subdomain(name.removeprefix(prefix))


def trust_bundle(at: str, text: str) -> list[Cause]:
    """Return why a text does not consist of certificates of authorities, each once."""
    if len(text) > _MAX_BUNDLE:
        return [too_long(at, _MAX_BUNDLE)]
    places: dict[bytes, list[int]] = {}
    causes: list[Cause] = []
    for index, block in enumerate(pem_blocks(text)):
        if problem := _anchor_problem(block):
            causes.append(invalid(at, OMITTED, f"entry {index} {problem}"))
        places.setdefault(block.der, []).append(index)
    if causes:
        return causes
    if not places:
        return [invalid(at, OMITTED, "at least one trust anchor must be provided")]
    return [
        invalid(at, OMITTED, f"duplicate trust anchor (indices [{' '.join(map(str, indices))}])")
        for indices in places.values()
        if len(indices) > 1
    ]


def _anchor_problem(block: PemBlock) -> str:
    if block.kind != CERTIFICATE:
        return f"has bad block type: {block.kind}"
    if block.headers:
        return "has PEM block headers"
    certificate = parse_certificate(block.der)
    if certificate is None:
        return "does not parse as X.509"
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "does not have the CA bit set"
    except ValueError:
        return "has invalid basic constraints"
    return "" if constraints.ca else "does not have the CA bit set"
