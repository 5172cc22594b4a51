"""What policies decided, under the names that dashboards made for Kubernetes ask for."""

from __future__ import annotations

from typing import Final, Literal

from prometheus_client import Counter, Histogram

Enforcement = Literal["allow", "audit", "deny", "warn"]
Failure = Literal["no_error", "compile_error", "invalid_error", "out_of_budget"]

_LABELS: Final = ("policy", "policy_binding", "error_type", "enforcement_action")
_SECONDS: Final = (0.0000005, 0.001, 0.01, 0.1, 1.0)


class Figures:
    """Counts the decisions of one kind of policies."""

    def __init__(self, subsystem: str, what: str) -> None:
        self._checks = Counter(
            f"apiserver_{subsystem}_check",
            f"Decisions of {what}, by policy, binding, failure and what came of it",
            _LABELS,
        )
        self._seconds = Histogram(
            f"apiserver_{subsystem}_check_duration_seconds",
            f"Time that {what} took to decide",
            _LABELS,
            buckets=_SECONDS,
        )

    def note(self, policy: str, binding: str, failure: Failure, action: Enforcement, seconds: float) -> None:
        """Count a decision."""
        labels = (policy, binding, failure, action)
        self._checks.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)


VALIDATING: Final = Figures("validating_admission_policy", "ValidatingAdmissionPolicies")
MUTATING: Final = Figures("mutating_admission_policy", "MutatingAdmissionPolicies")
