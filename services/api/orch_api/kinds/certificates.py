"""Requests for certificates, and bundles of authorities to trust (certificates.k8s.io).

A request says who made it; it is approved or denied through its subresource `approval`, and its certificate arrives
through `status`. The rules follow k8s.io/kubernetes/pkg/registry/certificates and pkg/apis/certificates/validation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.certificate_rules import (
    bundle_name,
    certificate_problem,
    request_problem,
    signer_name,
    trust_bundle,
)
from orch_api.kinds.columns import AGE, NAME, NONE, at, human_duration, text
from orch_api.kinds.fields import field
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Author, Document, Strategy, keep, put_section, section
from orch_api.validation import Problems, duplicate, forbidden, immutable, invalid, required, unsupported

GROUP: Final = "certificates.k8s.io"
APPROVAL: Final = "approval"

_APPROVED: Final = "Approved"
_DENIED: Final = "Denied"
_FAILED: Final = "Failed"
_DECISIONS: Final = (_APPROVED, _DENIED)
_FINAL: Final = (_APPROVED, _DENIED, _FAILED)
_STATUSES: Final = ("False", "True", "Unknown")
_CONDITIONS: Final = "status.conditions"
_MIN_SECONDS: Final = 600
_LEGACY_SIGNER: Final = "kubernetes.io/legacy-unknown"
_USAGES: Final = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)


class SigningRequestStrategy(Strategy):
    """The rules of CertificateSigningRequests."""

    def name_problems(self, name: str) -> Problems:
        """Refuse only what could not stand in a path."""
        return validation.path_segment(name)

    def prepare_create(self, obj: Document) -> None:
        """Forget what the user says of himself and of the outcome."""
        spec = put_section(obj, "spec")
        for name in ("username", "uid", "groups", "extra"):
            spec.pop(name, None)
        obj["status"] = {}

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Keep everything but the metadata."""
        keep(obj, old, "spec", "status")

    def prepare_subresource(self, subresource: str, obj: Document, old: Document) -> None:
        """Let `approval` change the conditions, and `status` all but what was decided."""
        self.prepare_status(obj, old)
        if subresource == APPROVAL:
            conditions = section(obj, "status").get("conditions")
            obj["status"] = {**section(old, "status"), "conditions": conditions or []}
        else:
            _keep_decisions(obj, old)

    def stamp(self, obj: Document, old: Document | None, author: Author, now: str) -> None:
        """Note who makes the request, and when conditions changed."""
        if old is None:
            spec = obj["spec"]
            spec["username"] = author.user
            if author.uid:
                spec["uid"] = author.uid
            if author.groups:
                spec["groups"] = list(author.groups)
            if author.extra:
                spec["extra"] = {key: list(values) for key, values in author.extra}
            return
        before = _conditions(old)
        for condition in _conditions(obj):
            if not condition.get("lastUpdateTime"):
                condition["lastUpdateTime"] = now
            if not condition.get("lastTransitionTime"):
                times = (one.get("lastTransitionTime") for one in before if _alike(one, condition))
                condition["lastTransitionTime"] = next(filter(None, times), now)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the request, its usages and its signer."""
        spec = section(obj, "spec")
        request: str = spec.get("request") or ""
        causes: list[Cause] = []
        if problem := request_problem(request):
            causes.append(invalid("spec.request", request, problem))
        usages: list[str] = spec.get("usages") or []
        if not usages:
            causes.append(required("spec.usages"))
        for index, usage in enumerate(usages):
            if usage not in _USAGES:
                causes.append(unsupported(f"spec.usages[{index}]", usage, _USAGES))
            if usage in usages[:index]:
                causes.append(duplicate(f"spec.usages[{index}]", usage))
        signer: str = spec.get("signerName") or ""
        if signer == _LEGACY_SIGNER:
            problem = "the legacy signerName is not allowed via this API version"
            causes.append(invalid("spec.signerName", signer, problem))
        else:
            causes += signer_name("spec.signerName", signer)
        seconds: int | None = spec.get("expirationSeconds")
        if seconds is not None and seconds < _MIN_SECONDS:
            problem = "may not specify a duration less than 600 seconds (10 minutes)"
            causes.append(invalid("spec.expirationSeconds", seconds, problem))
        return causes

    def validate_subresource(self, subresource: str, obj: Document, old: Document) -> list[Cause]:
        """Return which conditions cannot be, or are not this subresource's to change."""
        causes = _condition_rules(_conditions(obj)) + _removed(obj, old)
        if subresource != APPROVAL:
            causes += _foreign_decisions(obj, old)
        certificate: str = section(obj, "status").get("certificate") or ""
        before: str = section(old, "status").get("certificate") or ""
        if certificate != before:
            if problem := certificate_problem(certificate):
                causes.append(invalid("status.certificate", "<certificate data>", problem))
            if before:
                causes.append(forbidden("status.certificate", "updates may not modify existing certificate content"))
        return causes


def _conditions(obj: Document) -> list[Document]:
    return section(obj, "status").get("conditions") or []


def _of(obj: Document, kind: str) -> list[Document]:
    return [condition for condition in _conditions(obj) if condition.get("type") == kind]


def _alike(one: Document, other: Document) -> bool:
    return one.get("type") == other.get("type") and one.get("status") == other.get("status")


def _keep_decisions(obj: Document, old: Document) -> None:
    """Give each decision the form that it had; one that was added or taken away stays so, and is refused."""
    for kind in _DECISIONS:
        new, before = _of(obj, kind), _of(old, kind)
        if len(new) == len(before):
            for condition, kept in zip(new, before, strict=True):
                condition.clear()
                condition.update(kept)


def _condition_rules(conditions: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        place = f"{_CONDITIONS}[{index}]"
        kind: str = condition.get("type") or ""
        status: str = condition.get("status") or ""
        if not kind:
            causes.append(required(f"{place}.type"))
        allowed = ("True",) if kind in _FINAL else _STATUSES
        if not status:
            causes.append(required(f"{place}.status"))
        elif status not in allowed:
            causes.append(unsupported(f"{place}.status", status, allowed))
        if kind in _DECISIONS and seen & (set(_DECISIONS) - {kind}):
            problem = "Approved and Denied conditions are mutually exclusive"
            causes.append(invalid(_CONDITIONS, kind, problem))
        if kind in seen:
            causes.append(duplicate(f"{place}.type", kind))
        seen.add(kind)
    return causes


def _removed(obj: Document, old: Document) -> list[Cause]:
    return [
        forbidden(_CONDITIONS, f'updates may not remove a condition of type "{kind}"')
        for kind in _FINAL
        if len(_of(obj, kind)) < len(_of(old, kind))
    ]


def _foreign_decisions(obj: Document, old: Document) -> list[Cause]:
    return [
        forbidden(_CONDITIONS, f'updates may not add a condition of type "{kind}"')
        for kind in _DECISIONS
        if len(_of(obj, kind)) > len(_of(old, kind))
    ]


class TrustBundleStrategy(Strategy):
    """The rules of ClusterTrustBundles: those of a signer are named after it."""

    def name_problems(self, name: str) -> Problems:
        """Refuse what could not stand in a path; what the signer asks of the name, `validate` looks at."""
        return validation.path_segment(name)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the name, the signer and the certificates."""
        spec = section(obj, "spec")
        name: str = section(obj, "metadata").get("name") or ""
        signer: str = spec.get("signerName") or ""
        causes = [invalid("metadata.name", name, problem) for problem in bundle_name(name, signer)]
        if signer:
            causes += signer_name("spec.signerName", signer)
        return causes + trust_bundle("spec.trustBundle", spec.get("trustBundle") or "")

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return that the signer changes."""
        signer: str = section(obj, "spec").get("signerName") or ""
        before: str = section(old, "spec").get("signerName") or ""
        return [] if signer == before else [immutable("spec.signerName", signer)]


# Tables ---------------------------------------------------------------------------------------------------------


def _duration(obj: Document, now: datetime) -> str:
    _ = now
    seconds: int | None = at(obj, ("spec", "expirationSeconds"))
    return NONE if seconds is None else human_duration(seconds)


def _condition(obj: Document, now: datetime) -> str:
    _ = now
    words = next((kind for kind in (_DENIED, _APPROVED) if _of(obj, kind)), "Pending")
    if _of(obj, _FAILED):
        words += ",Failed"
    return f"{words},Issued" if section(obj, "status").get("certificate") else words


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="certificatesigningrequests",
        singular="certificatesigningrequest",
        kind="CertificateSigningRequest",
        namespaced=False,
        short_names=("csr",),
        strategy=SigningRequestStrategy(),
        columns=(
            NAME,
            AGE,
            Column("SignerName", text("spec", "signerName"), description="Who is asked to sign."),
            Column("Requestor", text("spec", "username"), description="Who asks."),
            Column("RequestedDuration", _duration, description="For how long the certificate shall be valid."),
            Column("Condition", _condition, description="What became of the request."),
        ),
        subresources={
            "status": Subresource("CertificateSigningRequest", GROUP),
            APPROVAL: Subresource("CertificateSigningRequest", GROUP),
        },
        fields={"spec.signerName": field("spec", "signerName")},
    ),
    Resource(
        group=GROUP,
        plural="clustertrustbundles",
        singular="clustertrustbundle",
        kind="ClusterTrustBundle",
        namespaced=False,
        strategy=TrustBundleStrategy(),
        columns=(
            NAME,
            Column("SignerName", text("spec", "signerName", missing=NONE), description="Whose authorities these are."),
        ),
        fields={"spec.signerName": field("spec", "signerName")},
    ),
)
