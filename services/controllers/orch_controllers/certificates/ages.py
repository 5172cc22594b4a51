"""When a request for a certificate is cleared away (k8s.io/kubernetes pkg/controller/certificates/cleaner). Pure."""

from __future__ import annotations

import base64
import logging
import math
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from orch.clock import parse_rfc3339
from orch.objects.certificates import CertificateSigningRequest

log = logging.getLogger(__name__)

_DECIDED: Final = timedelta(hours=1)
_PENDING: Final = timedelta(hours=24)


def seconds_left(csr: CertificateSigningRequest, now: datetime) -> float:
    """Return in how many seconds a request is cleared away; what is approved and not signed stays."""
    ends = [
        _moment(found.last_update_time or found.last_transition_time, now) + _DECIDED
        for kind in ("Denied", "Failed")
        if (found := csr.decided(kind)) is not None
    ]
    approved = csr.decided("Approved")
    if approved is not None and csr.status.certificate:
        ends.append(_moment(approved.last_update_time, now) + _DECIDED)
        if (end := _end_of(csr.status.certificate)) is not None:
            ends.append(end)
    if not csr.status.conditions:
        ends.append(_moment(csr.metadata.creation_timestamp, now) + _PENDING)
    return min(((end - now).total_seconds() for end in ends), default=math.inf)


def _moment(text: str, otherwise: datetime) -> datetime:
    return parse_rfc3339(text) if text else otherwise


def _end_of(certificate: str) -> datetime | None:
    """Return when a certificate ends; None for one that cannot be read, which is its owner's business."""
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(certificate)).not_valid_after_utc
    except ValueError as error:
        log.debug("a certificate cannot be read: %s", error)
        return None
