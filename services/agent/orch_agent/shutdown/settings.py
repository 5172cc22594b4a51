"""How long pods are given when their node shuts down, in the words of KubeletConfiguration.

Source: k8s.io/kubernetes/pkg/kubelet/nodeshutdown (nodeshutdown_manager.go) and pkg/kubelet/apis/config/validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from orch.config import Duration
from orch.errors import ConfigError
from orch.objects.pods import Pod
from orch_agent.pods.allocations import CRITICAL_PRIORITY

_LEAST: Final = 1.0

PodT = TypeVar("PodT")


class PriorityPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """What pods of this priority and more, up to the next one's, are given."""

    priority: int
    shutdown_grace_period_seconds: int


class ShutdownSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When nothing is set, the node's shutdown ends no pods.

    `grace_period` is for all pods together, its last `grace_period_critical_pods` for critical ones. In their place
    `grace_period_by_pod_priority` says it for any number of priorities; the periods follow one another.
    """

    grace_period: Duration = 0.0
    grace_period_critical_pods: Duration = 0.0
    grace_period_by_pod_priority: tuple[PriorityPeriod, ...] = ()

    def check(self, path: str) -> None:
        """Raise ConfigError for what cannot be meant."""
        if self.grace_period_by_pod_priority and (self.grace_period or self.grace_period_critical_pods):
            raise ConfigError(
                f"{path}.grace_period_by_pod_priority", "must not be set together with the other grace periods"
            )
        for name in ("grace_period", "grace_period_critical_pods"):
            if 0 < getattr(self, name) < _LEAST:
                raise ConfigError(f"{path}.{name}", "must be either zero or at least 1 s")
        if self.grace_period_critical_pods > self.grace_period:
            raise ConfigError(f"{path}.grace_period_critical_pods", "must not be longer than grace_period")
        seen: set[int] = set()
        for place, each in enumerate(self.grace_period_by_pod_priority):
            where = f"{path}.grace_period_by_pod_priority[{place}]"
            if each.shutdown_grace_period_seconds < 0:
                raise ConfigError(f"{where}.shutdown_grace_period_seconds", "must not be negative")
            if each.priority in seen:
                raise ConfigError(f"{where}.priority", f"{each.priority} is named twice")
            seen.add(each.priority)

    @property
    def periods(self) -> tuple[PriorityPeriod, ...]:
        """The periods, the lowest priority first; none when the shutdown ends no pods."""
        if self.grace_period_by_pod_priority:
            return tuple(sorted(self.grace_period_by_pod_priority, key=lambda each: each.priority))
        if not self.grace_period:
            return ()
        critical = int(self.grace_period_critical_pods)
        return (
            PriorityPeriod(priority=0, shutdown_grace_period_seconds=int(self.grace_period) - critical),
            PriorityPeriod(priority=CRITICAL_PRIORITY, shutdown_grace_period_seconds=critical),
        )

    @property
    def total(self) -> int:
        """How many seconds all periods take at most."""
        return sum(each.shutdown_grace_period_seconds for each in self.periods)


def by_period(
    periods: tuple[PriorityPeriod, ...], pods: Iterable[tuple[Pod, PodT]]
) -> list[tuple[PriorityPeriod, list[PodT]]]:
    """Return each period with what comes with its pods, in turn; pods below the lowest priority go with it."""
    groups: list[tuple[PriorityPeriod, list[PodT]]] = [(period, []) for period in periods]
    for pod, each in pods:
        fitting = [group for period, group in groups if period.priority <= pod.spec.priority]
        (fitting[-1] if fitting else groups[0][1]).append(each)
    return groups
