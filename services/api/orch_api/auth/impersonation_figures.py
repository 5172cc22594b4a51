"""The figures of impersonation, under the names that kube-apiserver gives them."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

_SECONDS: Final = tuple(0.001 * 2**power for power in range(15))
_LABELS: Final = ("mode", "decision")

_ATTEMPTS: Final = Counter(
    "apiserver_impersonation_attempts", "Requests to be served as somebody else, by mode and decision", _LABELS
)
_ATTEMPT_SECONDS: Final = Histogram(
    "apiserver_impersonation_attempts_duration_seconds",
    "Time that it took to decide whether requests are served as somebody else",
    _LABELS,
    buckets=_SECONDS,
)
_QUESTIONS: Final = Counter(
    "apiserver_impersonation_authorization_attempts", "Questions to those who authorize, by mode and decision", _LABELS
)
_QUESTION_SECONDS: Final = Histogram(
    "apiserver_impersonation_authorization_attempts_duration_seconds",
    "Time that those who authorize took to answer",
    _LABELS,
    buckets=_SECONDS,
)


def attempted(mode: str, seconds: float, *, allowed: bool) -> None:
    """Count a request to be served as somebody else; one that is denied has no mode."""
    decision = "allowed" if allowed else "denied"
    _ATTEMPTS.labels(mode, decision).inc()
    _ATTEMPT_SECONDS.labels(mode, decision).observe(seconds)


def asked(mode: str, seconds: float, *, allowed: bool) -> None:
    """Count a question to those who authorize."""
    decision = "allowed" if allowed else "denied"
    _QUESTIONS.labels(mode, decision).inc()
    _QUESTION_SECONDS.labels(mode, decision).observe(seconds)
