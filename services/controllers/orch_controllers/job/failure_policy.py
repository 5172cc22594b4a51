"""What a job's podFailurePolicy makes of a failed pod (k8s.io/kubernetes pkg/controller/job). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from orch.objects.batch import ExitCodesRequirement, PodConditionPattern, PodFailurePolicy, PodFailurePolicyRule
from orch.objects.meta import Condition
from orch.objects.pods import ContainerStatus, Pod

FAIL_JOB: Final = "FailJob"
FAIL_INDEX: Final = "FailIndex"
IGNORE: Final = "Ignore"


class Judgement(msgspec.Struct, frozen=True):
    """What is to be done about a failed pod. `action` is empty when no rule matches: then it counts."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts towards the limits."""
        return self.action != IGNORE


_COUNTS: Final = Judgement()


def judge(policy: PodFailurePolicy | None, pod: Pod) -> Judgement:
    """Return what the first rule that matches the pod says."""
    for index, rule in enumerate(policy.rules if policy is not None else ()):
        found = _matching(rule, pod)
        if found:
            return Judgement(rule.action, f"{found} matching {rule.action} rule at index {index}")
    return _COUNTS


def _matching(rule: PodFailurePolicyRule, pod: Pod) -> str:
    """Return what of the pod the rule matches; empty when nothing does."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if rule.on_exit_codes is None:
        condition = _matching_condition(rule.on_pod_conditions, pod.status.conditions)
        return f"Pod {name} has condition {condition}" if condition else ""
    status = _failed_container(rule.on_exit_codes, pod)
    if status is None or status.state.terminated is None:
        return ""
    return f"Container {status.name} for pod {name} failed with exit code {status.state.terminated.exit_code}"


def _failed_container(requirement: ExitCodesRequirement, pod: Pod) -> ContainerStatus | None:
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0:
            continue
        if requirement.container_name is not None and requirement.container_name != status.name:
            continue
        if (ended.exit_code in requirement.values) == (requirement.operator == "In"):
            return status
    return None


def _matching_condition(patterns: Sequence[PodConditionPattern], conditions: Iterable[Condition]) -> str:
    wanted = {(pattern.type, pattern.status) for pattern in patterns}
    return next((each.type for each in conditions if (each.type, each.status) in wanted), "")
