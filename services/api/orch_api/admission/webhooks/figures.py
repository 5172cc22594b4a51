"""What webhooks did, under the names that dashboards made for Kubernetes ask for."""

from __future__ import annotations

from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

Kind = Literal["admit", "validating"]

_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25)
_MAX_CODE: Final = 600

DURATION: Final = Histogram(
    "apiserver_admission_webhook_admission_duration_seconds",
    "Time that an admission webhook took, by name, operation and outcome",
    ("name", "type", "operation", "rejected"),
    buckets=_SECONDS,
)
REQUESTS: Final = Counter(
    "apiserver_admission_webhook_request",
    "Questions to admission webhooks, by the code of what came of them",
    ("name", "type", "operation", "code", "rejected"),
)
# Kubernetes' names of these two do not end in _total, which a Counter's always do.
REJECTIONS: Final = Gauge(
    "apiserver_admission_webhook_rejection_count",
    "Requests that admission webhooks refused, or that were refused since one could not be asked",
    ("name", "type", "operation", "error_type", "rejection_code"),
)
FAIL_OPEN: Final = Gauge(
    "apiserver_admission_webhook_fail_open_count", "Webhooks that failed and were left out", ("name", "type")
)
CONDITION_ERRORS: Final = Counter(
    "apiserver_admission_match_condition_evaluation_errors",
    "Conditions of webhooks that could not be evaluated",
    ("name", "kind", "type", "operation"),
)
CONDITION_EXCLUSIONS: Final = Counter(
    "apiserver_admission_match_condition_exclusions",
    "Webhooks that were left out since a condition did not hold",
    ("name", "kind", "type", "operation"),
)


def note(
    name: str, kind: Kind, operation: str, seconds: float, code: int, *, rejected: bool, failure: str = ""
) -> None:
    """Count a question to a webhook; `failure` is what went wrong when the request was refused for that."""
    told = str(rejected).lower()
    code = min(code, _MAX_CODE)
    DURATION.labels(name, kind, operation, told).observe(seconds)
    REQUESTS.labels(name, kind, operation, str(code), told).inc()
    if rejected:
        REJECTIONS.labels(name, kind, operation, failure or "no_error", str(code)).inc()
