"""Views of PodDisruptionBudget (k8s.io/api/policy/v1)."""

from __future__ import annotations

from orch.objects.meta import Condition, LabelSelector, Object, View


class DisruptionBudgetSpec(View, frozen=True):
    """How many pods must stay, or may be away: a number or a percentage. Without a selector it is about no pod."""

    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str = ""


class DisruptionBudgetStatus(View, frozen=True):
    """How many pods there are and may go. `disrupted_pods`: when each pod that is about to go was allowed to."""

    observed_generation: int = 0
    disrupted_pods: dict[str, str] = {}
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    conditions: tuple[Condition, ...] = ()


class DisruptionBudget(Object, frozen=True):
    """A disruption budget."""

    spec: DisruptionBudgetSpec = DisruptionBudgetSpec()
    status: DisruptionBudgetStatus = DisruptionBudgetStatus()
