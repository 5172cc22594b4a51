"""CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may have whom believed.

Writing to a request's `approval` or `status` is not enough: its signer is asked for by name. And no request that a
client makes can lead to a certificate of the group that may do everything.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.admission.rights import may_for_signer
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import MASTERS
from orch_api.kinds.certificate_rules import pem_blocks, plain
from orch_api.strategy import section

_REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
_CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client"


class CertificateApproval(Plugin):
    """Refuses approvals and denials by those who may not approve for the signer."""

    name: ClassVar = "CertificateApproval"
    validates: ClassVar = (Rule((UPDATE,), (f"{_REQUESTS}/approval",)),)

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, request: Request) -> None:
        """Ask for the right. Raises ForbiddenError."""
        signer = _signer(request.old)
        if not await may_for_signer(self._authorizer, request.caller, "approve", signer):
            raise refused(request, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(Plugin):
    """Refuses certificates and outcomes by those who may not sign for the signer."""

    name: ClassVar = "CertificateSigning"
    validates: ClassVar = (Rule((UPDATE,), (f"{_REQUESTS}/status",)),)

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, request: Request) -> None:
        """Ask for the right when the certificate or a condition changes. Raises ForbiddenError."""
        status, before = section(request.document or {}, "status"), section(request.old or {}, "status")
        if all((status.get(part) or None) == (before.get(part) or None) for part in ("certificate", "conditions")):
            return
        signer = _signer(request.old)
        if not await may_for_signer(self._authorizer, request.caller, "sign", signer):
            raise refused(request, f'user not permitted to sign requests with signerName "{signer}"')


class CertificateSubjectRestriction(Plugin):
    """Refuses requests for client certificates of the group system:masters."""

    name: ClassVar = "CertificateSubjectRestriction"
    validates: ClassVar = (Rule((CREATE,), (_REQUESTS,)),)

    async def validate(self, request: Request) -> None:
        """Look at the organizations of the request. Raises ForbiddenError."""
        if request.document is None or _signer(request.document) != _CLIENT_SIGNER:
            return
        if MASTERS in _organizations(section(request.document, "spec").get("request") or ""):
            raise refused(request, f"use of {_CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def _signer(document: dict[str, Any] | None) -> str:
    return section(document or {}, "spec").get("signerName") or ""


def _organizations(encoded: str) -> set[str]:
    """Return the groups that a request's certificate would be for; validation has seen that it can be read."""
    block = pem_blocks(plain(encoded))[0]
    subject = x509.load_der_x509_csr(block.der).subject
    return {str(one.value) for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
