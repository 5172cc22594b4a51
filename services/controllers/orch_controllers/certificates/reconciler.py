"""Takes requests for certificates from creation to their end: approve, sign, clear away."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any, Final

from orch.clock import rfc3339
from orch.errors import NotFoundError
from orch.objects.certificates import CertificateSigningRequest
from orch.objects.meta import Object, View
from orch.objects.scheme import CERTIFICATE_SIGNING_REQUESTS, Kind
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.certificates.ages import seconds_left
from orch_controllers.certificates.authority import Authority
from orch_controllers.certificates.signers import KUBELET_CLIENT, UnfitError, check, common_name, is_ours, parse
from orch_controllers.context import Context
from orch_controllers.documents import condition_document

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 600.0
"""Seconds between two looks at a request that waits for its end, at the most."""
_RECOGNISED: Final = (
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
)


class _ReviewStatus(View, frozen=True):
    allowed: bool = False


class _Review(Object, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


_REVIEWS: Final = Kind("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False, _Review)


class CertificatesReconciler:
    """Reconciles CertificateSigningRequests."""

    def __init__(self, context: Context) -> None:
        config = context.config
        self._client = context.client
        self._clock = context.clock
        self._requests = context.informers.of(CERTIFICATE_SIGNING_REQUESTS)
        self._authority: Authority | None = None
        if config.cluster_signing_cert_file and config.cluster_signing_key_file:
            files = Path(config.cluster_signing_cert_file), Path(config.cluster_signing_key_file)
            self._authority = Authority(*files, config.cluster_signing_duration)

    async def reconcile(self, key: Key) -> Result:
        """Take the next step for one request."""
        item = self._requests.get("", key.name)
        if item is None or item.object.metadata.deletion_timestamp:
            return DONE
        csr = item.object
        left = seconds_left(csr, self._clock.now())
        try:
            if left <= 0:
                await self._client.delete(CERTIFICATE_SIGNING_REQUESTS, "", key.name, uid=item.uid)
                return DONE
            if not csr.status.certificate and not csr.decided("Denied") and not csr.decided("Failed"):
                await (self._sign(csr) if csr.decided("Approved") else self._approve(csr))
        except NotFoundError:
            log.debug("the request %s was gone already", key.name)
            return DONE
        return Result(min(left, _LOOK_AGAIN))

    async def _approve(self, csr: CertificateSigningRequest) -> None:
        """Approve a node's client certificate when whoever asks for it may; others are for people to judge."""
        if csr.spec.signer_name != KUBELET_CLIENT:
            return
        try:
            request = parse(csr)
            check(csr, request)
        except UnfitError as error:
            log.debug("the request %s is not approved: %s", csr.metadata.name, error)
            return
        for subresource, message in _RECOGNISED:
            if subresource == "selfnodeclient" and common_name(request) != csr.spec.username:
                continue
            if await self._may(csr, subresource):
                condition = self._condition("Approved", "AutoApproved", message)
                await self._add(csr, condition, "approval", {})
                return

    async def _may(self, csr: CertificateSigningRequest, subresource: str) -> bool:
        """Return whether who asks may have such a certificate."""
        spec = {
            "user": csr.spec.username,
            "uid": csr.spec.uid,
            "groups": csr.spec.groups,
            "extra": csr.spec.extra,
            "resourceAttributes": {
                "group": CERTIFICATE_SIGNING_REQUESTS.group,
                "resource": CERTIFICATE_SIGNING_REQUESTS.resource,
                "verb": "create",
                "subresource": subresource,
            },
        }
        body = {"apiVersion": _REVIEWS.api_version, "kind": _REVIEWS.name, "metadata": {}, "spec": spec}
        return (await self._client.create(_REVIEWS, "", body)).status.allowed

    async def _sign(self, csr: CertificateSigningRequest) -> None:
        if self._authority is None or not is_ours(csr.spec.signer_name):
            return
        try:
            request = parse(csr)
            check(csr, request)
        except UnfitError as error:
            failed = self._condition("Failed", "SignerValidationFailure", str(error))
            await self._add(csr, failed, "status", {})
            return
        seconds = csr.spec.expiration_seconds
        certificate = self._authority.sign(request, csr.spec.usages, seconds, self._clock.now())
        await self._add(csr, None, "status", {"certificate": base64.b64encode(certificate).decode()})

    def _condition(self, kind: str, reason: str, message: str) -> dict[str, Any]:
        now = rfc3339(self._clock.now())
        return {"type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now}

    async def _add(
        self, csr: CertificateSigningRequest, condition: dict[str, Any] | None, subresource: str, status: dict[str, Any]
    ) -> None:
        meta = csr.metadata
        if condition is not None:
            status = {**status, "conditions": [*map(condition_document, csr.status.conditions), condition]}
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": status}
        await self._client.patch(CERTIFICATE_SIGNING_REQUESTS, "", meta.name, patch, subresource=subresource)
