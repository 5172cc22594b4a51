"""A disruption budget's arithmetic (k8s.io/kubernetes pkg/controller/disruption). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from orch.clock import parse_rfc3339, rfc3339
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.objects.policy import DisruptionBudget, DisruptionBudgetStatus
from orch_controllers.documents import condition_document
from orch_controllers.pod_state import is_ready

ALLOWED: Final = "DisruptionAllowed"
DELETION_TIMEOUT: Final = timedelta(minutes=2)
"""How long a pod that was allowed to go counts as gone, though it has not begun to."""


class Disrupted(msgspec.Struct, frozen=True):
    """Pods that are about to go, those that should have gone, and when to look again."""

    pods: Mapping[str, str]
    overdue: tuple[Pod, ...]
    look_at: datetime | None


def disrupted(budget: DisruptionBudget, pods: Sequence[Pod], now: datetime) -> Disrupted:
    """Return which pods of `disruptedPods` are still waited for."""
    told = budget.status.disrupted_pods
    waiting: dict[str, str] = {}
    overdue: list[Pod] = []
    ends: list[datetime] = []
    for pod in pods if told else ():
        since = told.get(pod.metadata.name)
        if since is None or pod.metadata.deletion_timestamp:
            continue
        end = parse_rfc3339(since) + DELETION_TIMEOUT
        if end < now:
            overdue.append(pod)
        else:
            waiting[pod.metadata.name] = since
            ends.append(end)
    return Disrupted(waiting, tuple(overdue), min(ends, default=None))


def healthy(pods: Sequence[Pod], leaving: Mapping[str, str]) -> int:
    """Return how many pods serve and are not about to go."""
    return sum(
        not pod.metadata.deletion_timestamp and pod.metadata.name not in leaving and is_ready(pod) for pod in pods
    )


def status_of(
    budget: DisruptionBudget, current: int, desired: int, expected: int, leaving: Mapping[str, str], now: datetime
) -> DisruptionBudgetStatus:
    """Return the status of a budget whose pods could be counted. While no pod is expected none may go."""
    allowed = max(0, current - desired) if expected > 0 else 0
    generation = budget.metadata.generation
    status, reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    condition = Condition(type=ALLOWED, status=status, reason=reason, observed_generation=generation)
    return DisruptionBudgetStatus(
        observed_generation=generation,
        disrupted_pods=dict(leaving),
        disruptions_allowed=allowed,
        current_healthy=current,
        desired_healthy=desired,
        expected_pods=expected,
        conditions=_with(budget.status.conditions, condition, now),
    )


def failed_status(budget: DisruptionBudget, problem: str, now: datetime) -> DisruptionBudgetStatus:
    """Return the status of a budget whose pods could not be counted: to be safe none may go."""
    status = budget.status
    condition = Condition(
        type=ALLOWED,
        status="False",
        reason="SyncFailed",
        message=problem,
        observed_generation=status.observed_generation,
    )
    return msgspec.structs.replace(status, disruptions_allowed=0, conditions=_with(status.conditions, condition, now))


def as_patch(budget: DisruptionBudget, status: DisruptionBudgetStatus) -> dict[str, Any]:
    """Return the merge patch that brings the budget's status to `status`, if nobody has changed it meanwhile."""
    meta = budget.metadata
    gone = dict.fromkeys(budget.status.disrupted_pods.keys() - status.disrupted_pods.keys())
    return {
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {
            "observedGeneration": status.observed_generation,
            "disruptedPods": {**gone, **status.disrupted_pods} if status.disrupted_pods else None,
            "disruptionsAllowed": status.disruptions_allowed,
            "currentHealthy": status.current_healthy,
            "desiredHealthy": status.desired_healthy,
            "expectedPods": status.expected_pods,
            "conditions": [{"message": "", **condition_document(each)} for each in status.conditions],
        },
    }


def _with(conditions: Sequence[Condition], new: Condition, now: datetime) -> tuple[Condition, ...]:
    """Return the conditions with one set; its time changes with its status only."""
    old = next((each for each in conditions if each.type == new.type), None)
    since = old.last_transition_time if old is not None and old.status == new.status else rfc3339(now)
    dated = msgspec.structs.replace(new, last_transition_time=since)
    if old is None:
        return (*conditions, dated)
    return tuple(dated if each is old else each for each in conditions)
