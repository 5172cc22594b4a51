"""Requests of pods for certificates, made by the agent of the node that a pod runs on (certificates.k8s.io).

The rules follow ValidatePodCertificateRequest* in k8s.io/kubernetes/pkg/apis/certificates/validation. That an issued
certificate begins now is left to its signer: the rules of a kind do not know the time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orch.clock import parse_rfc3339
from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.certificate_rules import CERTIFICATE, OMITTED, parse_certificate, pem_blocks, signer_name
from orch_api.kinds.certificates import GROUP
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.kinds.condition_rules import conditions
from orch_api.kinds.fields import field
from orch_api.kinds.status_metadata import BareStatusStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, section
from orch_api.validation import check, immutable, invalid, required, same, too_long, unsupported

_OUTCOMES: Final = ("Issued", "Denied", "Failed")
_DAY: Final = 24 * 3600
_MIN_SECONDS: Final = 3600
_MAX_SECONDS: Final = 91 * _DAY
_MAX_UID: Final = 128
_MAX_REQUEST: Final = 10 * 1024
_MAX_CHAIN: Final = 100 * 1024
_RSA_SIZES: Final = frozenset({3072, 4096})
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_REFRESH_MARGIN: Final = timedelta(minutes=10)
_REQUEST: Final = "spec.stubPKCS10Request"
_CHAIN: Final = "status.certificateChain"


class PodCertificateStrategy(BareStatusStrategy):
    """The rules of PodCertificateRequests."""

    def default(self, obj: Document) -> None:
        """Ask for at most a day."""
        spec = section(obj, "spec")
        if spec and spec.get("maxExpirationSeconds") is None:
            spec["maxExpirationSeconds"] = _DAY

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with who asks whom for how long, and with the key."""
        spec = section(obj, "spec")
        signer: str = spec.get("signerName") or ""
        causes = signer_name("spec.signerName", signer)
        if annotations := spec.get("unverifiedUserAnnotations"):
            causes += validation.annotation_map("spec.unverifiedUserAnnotations", annotations)
        for what in ("pod", "serviceAccount", "node"):
            causes += check(f"spec.{what}Name", spec.get(f"{what}Name") or "", validation.dns_subdomain)
            uid: str = spec.get(f"{what}UID") or ""
            if not uid:
                causes.append(invalid(f"spec.{what}UID", uid, "must not be empty"))
            elif len(uid) > _MAX_UID:
                causes.append(too_long(f"spec.{what}UID", _MAX_UID))
        longest = _DAY if signer.startswith("kubernetes.io/") else _MAX_SECONDS
        seconds: int = spec.get("maxExpirationSeconds") or 0
        if not _MIN_SECONDS <= seconds <= longest:
            problem = f"must be in the range [{_MIN_SECONDS}, {longest}]"
            causes.append(invalid("spec.maxExpirationSeconds", seconds, problem))
        return causes + _key_problems(spec.get("stubPKCS10Request") or "")

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return that the request changes."""
        return [] if same(obj.get("spec"), old.get("spec")) else [immutable("spec", obj.get("spec"))]

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what an outcome lacks, or that there is one already."""
        status, before = section(obj, "status"), section(old, "status")
        causes = _outcomes(status) + conditions("status.conditions", status.get("conditions") or [])
        if causes:
            return causes
        if _outcome(before):
            problem = "immutable after PodCertificateRequest is issued, denied, or failed"
            return [] if same(status, before) else [invalid("status", OMITTED, problem)]
        outcome = _outcome(status)
        if outcome == "Issued":
            problem = next(_issue_problems(status, section(obj, "spec")), None)
            return [problem] if problem is not None else []
        if outcome:
            problem = "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
            alone = same(status, {"conditions": status.get("conditions")})
            return [] if alone else [invalid("status", OMITTED, problem)]
        problem = 'status is immutable unless transitioning to "Issued", "Denied", or "Failed"'
        return [] if same(status, before) else [invalid("status", OMITTED, problem)]


def _key_problems(request: str) -> list[Cause]:
    """Return why the request is not signed by a key that certificates are issued for."""
    der = base64.b64decode(request)
    if len(der) > _MAX_REQUEST:
        return [too_long(_REQUEST, _MAX_REQUEST)]
    try:
        parsed = x509.load_der_x509_csr(der)
        key, signed = parsed.public_key(), parsed.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        return [invalid(_REQUEST, OMITTED, "must be a valid PKCS#10 certificate request")]
    if not signed:
        return [invalid(_REQUEST, OMITTED, "could not verify the request's signature")]
    shown, problem = _unsupported(key)
    return [invalid(_REQUEST, shown, problem)] if problem else []


def _unsupported(key: CertificatePublicKeyTypes) -> tuple[str, str]:
    """Return why no certificates are issued for such a key, after what of it is shown; "" if they are."""
    if isinstance(key, rsa.RSAPublicKey):
        problem = "" if key.key_size in _RSA_SIZES else "RSA keys must have modulus size 3072 or 4096"
        return f"{key.key_size}-bit modulus", problem
    if isinstance(key, ec.EllipticCurvePublicKey):
        problem = "" if isinstance(key.curve, _CURVES) else "elliptic public keys must use curve P256, P384 or P521"
        return f"curve {key.curve.name}", problem
    if isinstance(key, ed25519.Ed25519PublicKey):
        return OMITTED, ""
    return OMITTED, "unknown public key type; supported types are Ed25519, ECDSA, and RSA"


def _outcome(status: Document) -> str:
    """Return what became of the request, "" while nothing did."""
    found = (one.get("type") for one in status.get("conditions") or () if one.get("status") == "True")
    return next((kind for kind in found if kind in _OUTCOMES), "")


def _outcomes(status: Document) -> list[Cause]:
    causes: list[Cause] = []
    known = 0
    for index, condition in enumerate(status.get("conditions") or ()):
        at = f"status.conditions[{index}]"
        kind: str = condition.get("type") or ""
        if kind not in _OUTCOMES:
            causes.append(unsupported(f"{at}.type", kind, _OUTCOMES))
            continue
        known += 1
        if known > 1:
            problem = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
            causes.append(invalid(f"{at}.type", kind, problem))
        if condition.get("status") != "True":
            causes.append(unsupported(f"{at}.status", condition.get("status") or "", ("True",)))
    return causes


def _issue_problems(status: Document, spec: Document) -> Iterator[Cause]:
    """Yield why a chain is not what was asked for; the first is told, as the rest follows from it."""
    chain: str = status.get("certificateChain") or ""
    if len(chain) > _MAX_CHAIN:
        yield too_long(_CHAIN, _MAX_CHAIN)
    blocks = pem_blocks(chain)
    if not blocks:
        yield invalid(_CHAIN, chain, "issued certificate chain must contain at least one certificate")
        return
    if any(block.kind != CERTIFICATE for block in blocks):
        yield invalid(_CHAIN, chain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
    leaf, *others = (parse_certificate(block.der) for block in blocks)
    if leaf is None:
        yield invalid(_CHAIN, chain, "leaf certificate does not parse as valid X.509")
        return
    request = x509.load_der_x509_csr(base64.b64decode(spec.get("stubPKCS10Request") or ""))
    if _encoded(leaf) != _encoded(request):
        yield invalid(_CHAIN, chain, "leaf certificate was not issued to the requested public key")
    yield from _times(status, spec, leaf)
    if any(other is None for other in others):
        yield invalid(_CHAIN, chain, "intermediate certificate does not parse as valid X.509")


def _encoded(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return signed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _times(status: Document, spec: Document, leaf: x509.Certificate) -> Iterator[Cause]:
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    for name, wanted in (("notBefore", begin), ("notAfter", end)):
        told: str = status.get(name) or ""
        at = f"status.{name}"
        if not told:
            yield required(at, "must be present and consistent with the issued certificate")
        elif parse_rfc3339(told) != wanted:
            heading = f"{name[:1].upper()}{name[1:]}"
            yield invalid(at, told, f"must be set to the {heading} time encoded in the leaf certificate")
    lifetime = end - begin
    if lifetime < timedelta(hours=1):
        yield invalid(_CHAIN, str(lifetime), "leaf certificate lifetime must be >= 1 hour")
    longest: int = spec.get("maxExpirationSeconds") or 0
    if lifetime > timedelta(seconds=longest):
        problem = f"leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})"
        yield invalid(_CHAIN, str(lifetime), problem)
    refresh: str = status.get("beginRefreshAt") or ""
    at = "status.beginRefreshAt"
    if not refresh:
        yield required(at, "must be present and in the range [notbefore+10min, notafter-10min]")
    elif parse_rfc3339(refresh) < begin + _REFRESH_MARGIN:
        yield invalid(at, refresh, "must be at least 10 minutes after status.notBefore")
    elif parse_rfc3339(refresh) > end - _REFRESH_MARGIN:
        yield invalid(at, refresh, "must be at least 10 minutes before status.notAfter")


def _state(obj: Document, now: datetime) -> str:
    _ = now
    return _outcome(section(obj, "status")) or "Pending"


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="podcertificaterequests",
        singular="podcertificaterequest",
        kind="PodCertificateRequest",
        strategy=PodCertificateStrategy(),
        columns=(
            NAME,
            Column("PodName", text("spec", "podName"), description="The pod that the certificate is for."),
            Column("ServiceAccountName", text("spec", "serviceAccountName"), description="What the pod runs as."),
            Column("NodeName", text("spec", "nodeName"), description="The node that asks."),
            Column("SignerName", text("spec", "signerName"), description="Who is asked to sign."),
            Column("State", _state, description="What became of the request."),
            AGE,
        ),
        subresources={"status": Subresource("PodCertificateRequest", GROUP)},
        fields={f"spec.{name}": field("spec", name) for name in ("nodeName", "podName", "signerName")},
    ),
)
