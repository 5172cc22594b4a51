"""The figures of authentication, under the names that kube-apiserver gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import REGISTRY, Gauge
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orch_api.distribution import Distribution

_SECONDS: Final = tuple(0.001 * 2**power for power in range(15))

FETCHING: Final = Gauge(
    "authentication_token_cache_active_fetch_count", "Tokens that somebody else is being asked about", ("status",)
)

_INTERNAL: Final = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})


def shown_user(user: str) -> str:
    """Return under what name a user is counted: there are too many of them to be told apart."""
    if user in _INTERNAL:
        return user
    return "email_id" if "@" in user else "other"


class AuthenticationFigures(Collector):
    """Counters whose names do not end in _total, as Kubernetes' own do not, and how long it took."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {"success": 0, "failure": 0, "error": 0}
        self._durations = {result: Distribution(_SECONDS) for result in self._attempts}
        self._users: dict[str, int] = {}
        self._cached: dict[tuple[str, str], int] = {}

    def attempt(self, result: str, seconds: float) -> None:
        """Count an attempt that took so long: a success, a failure (nothing counted), or an error (it was refused)."""
        self._attempts[result] += 1
        self._durations[result].observe(seconds)

    def succeeded(self, user: str) -> None:
        """Count a request of somebody who is known."""
        shown = shown_user(user)
        self._users[shown] = self._users.get(shown, 0) + 1

    def token_cache(self, what: str, status: str) -> None:
        """Count a question to the cache ("request", status hit or miss) or a fetch (status ok or error)."""
        self._cached[what, status] = self._cached.get((what, status), 0) + 1

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        attempts = Metric("authentication_attempts", "Attempts to authenticate by outcome", "unknown")
        for result, count in self._attempts.items():
            attempts.add_sample("authentication_attempts", {"result": result}, count)
        yield attempts
        durations = HistogramMetricFamily(
            "authentication_duration_seconds", "Time that authentication took by outcome", labels=("result",)
        )
        for result, duration in self._durations.items():
            duration.add_to(durations, (result,))
        yield durations
        users = Metric("authenticated_user_requests", "Requests of authenticated users", "unknown")
        for user, count in self._users.items():
            users.add_sample("authenticated_user_requests", {"username": user}, count)
        yield users
        for what in ("request", "fetch"):
            name = f"authentication_token_cache_{what}_total"
            family = Metric(name, f"Tokens by what became of a {what}", "unknown")
            for (kind, status), count in self._cached.items():
                if kind == what:
                    family.add_sample(name, {"status": status}, count)
            yield family


FIGURES: Final = AuthenticationFigures()
REGISTRY.register(FIGURES)
