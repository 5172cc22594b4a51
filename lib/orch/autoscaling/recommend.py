"""The whole decision about one autoscaler, as a pure function of what was read.

The order of the steps, the conditions and their wording are those of kube-controller-manager's reconcileAutoscaler:
bounds first, then the metrics (the highest proposal wins; those that cannot be read forbid only a decrease), then
stabilization and policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orch.autoscaling.arithmetic import propose
from orch.autoscaling.limits import due_after, limit, remember, stabilize
from orch_pb.v1.autoscaling_pb2 import (
    AutoscalingDecision,
    AutoscalingInputs,
    AutoscalingOutcome,
    MetricInput,
    MetricProposal,
    Recommendation,
)

ABLE: Final = "AbleToScale"
ACTIVE: Final = "ScalingActive"
LIMITED: Final = "ScalingLimited"
TO_ZERO: Final = "ScaledToZero"

_TRUE: Final = "True"
_FALSE: Final = "False"
_WITHOUT_PODS: Final = frozenset({"Object", "External"})
_BELOW_MINIMUM: Final = "Current number of replicas below Spec.MinReplicas"
_FAILURES: Final = {
    "Resource": ("FailedGetResourceMetric", "failed to get {name} resource metric value"),
    "ContainerResource": ("FailedGetContainerResourceMetric", "failed to get {container} container metric value"),
    "Pods": ("FailedGetPodsMetric", "failed to get pods metric value"),
    "Object": ("FailedGetObjectMetric", "failed to get object metric value"),
    "External": ("FailedGetExternalMetric", "failed to get {name} external metric value"),
}
"""The reason and the prefix of each type's failures."""


def recommend(inputs: AutoscalingInputs) -> AutoscalingOutcome:
    """Return what shall be done, and what is to be said about it."""
    outcome = AutoscalingOutcome(replicas=inputs.spec_replicas)
    outcome.history.extend(inputs.history or [Recommendation(at=inputs.at, replicas=inputs.spec_replicas)])
    if inputs.HasField("obstacle") and inputs.obstacle.scale:
        _stop(inputs, outcome)
        return outcome
    _set(outcome, ABLE, _TRUE, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
    if not needs_metrics(inputs):
        _keep_to_bounds(inputs, outcome)
    elif inputs.HasField("obstacle"):
        _stop(inputs, outcome)
        _warn(outcome, "FailedComputeMetricsReplicas", inputs.obstacle.problem)
    else:
        _follow_metrics(inputs, outcome)
    return outcome


def replays(decision: AutoscalingDecision) -> bool:
    """Return whether a recorded decision comes out again, byte for byte."""
    again = recommend(decision.inputs)
    return again.SerializeToString(deterministic=True) == decision.outcome.SerializeToString(deterministic=True)


def needs_metrics(inputs: AutoscalingInputs) -> bool:
    """Return whether metrics decide, and not the bounds alone."""
    current = inputs.spec_replicas
    if current == 0 and inputs.min_replicas != 0 and not inputs.scaled_to_zero:
        return False
    if current == 0:
        return inputs.scaled_to_zero and _wakes(inputs.metrics)
    return inputs.min_replicas <= current <= inputs.max_replicas


def scaled_to_zero(inputs: AutoscalingInputs, outcome: AutoscalingOutcome) -> bool:
    """Return whether a change leaves nothing running in a way that its metrics can undo."""
    idle = inputs.spec_replicas > 0 and outcome.replicas == 0 and inputs.min_replicas == 0
    return idle and _wakes(inputs.metrics)


def _wakes(metrics: Sequence[MetricInput]) -> bool:
    """Return whether something else than pods is measured: pods that are not there say nothing."""
    return any(metric.type in _WITHOUT_PODS for metric in metrics)


def _keep_to_bounds(inputs: AutoscalingInputs, outcome: AutoscalingOutcome) -> None:
    current = inputs.spec_replicas
    if current == 0 and not (inputs.scaled_to_zero and inputs.min_replicas):
        problem = "scaling is disabled since the replica count of the target is zero"
        _set(outcome, ACTIVE, _FALSE, "ScalingDisabled", problem)
    elif current > inputs.max_replicas:
        outcome.replicas, outcome.reason = inputs.max_replicas, "Current number of replicas above Spec.MaxReplicas"
    else:
        outcome.replicas, outcome.reason = inputs.min_replicas, _BELOW_MINIMUM
    outcome.rescale = outcome.replicas != current


def _follow_metrics(inputs: AutoscalingInputs, outcome: AutoscalingOutcome) -> None:
    highest = _highest(inputs, outcome)
    if highest is None:
        outcome.failed = True
        return
    desired = outcome.metrics_replicas = highest.replicas
    current = inputs.spec_replicas
    if desired > current:
        outcome.reason = f"{highest.name} above target"
    elif desired < current:
        outcome.reason = "All metrics below target"
    history = list(outcome.history)
    stable = outcome.stabilized_replicas = stabilize(inputs, history, desired)
    del outcome.history[:]
    outcome.history.extend(remember(inputs, history, desired))
    if stable == desired:
        _set(outcome, ABLE, _TRUE, "ReadyForNewScale", "recommended size matches current size")
    else:
        _set(outcome, ABLE, _TRUE, *_stabilized(inputs, desired))
    limited = limit(inputs, stable)
    _set(outcome, LIMITED, _TRUE if limited.limited else _FALSE, limited.reason, limited.message)
    outcome.replicas = limited.replicas
    if current == 0 and inputs.min_replicas > limited.replicas:  # the minimum was raised while nothing ran
        outcome.replicas, outcome.reason = inputs.min_replicas, outcome.reason or _BELOW_MINIMUM
    outcome.rescale = outcome.replicas != current
    if stable != desired or limited.limited:
        outcome.again_after = due_after(inputs, outcome.history)


def _highest(inputs: AutoscalingInputs, outcome: AutoscalingOutcome) -> MetricProposal | None:
    """Return the proposal that counts; None, with the condition and warnings set, when none may be followed."""
    highest: MetricProposal | None = None
    failures: list[tuple[str, str, str]] = []
    for metric in inputs.metrics:
        proposal = propose(inputs, metric)
        outcome.proposals.append(proposal)
        if proposal.error:
            reason, prefix = _FAILURES.get(metric.type, ("InvalidMetricSourceType", ""))
            _warn(outcome, reason, proposal.error)
            named = prefix.format(name=metric.name, container=metric.container)
            failures.append((reason, proposal.error, f"{named}: {proposal.error}" if named else proposal.error))
        elif highest is None or proposal.replicas > highest.replicas:
            highest = proposal
    if failures and (highest is None or highest.replicas < inputs.spec_replicas):
        reason, problem, named = failures[0]
        _set(outcome, ACTIVE, _FALSE, reason, f"the HPA was unable to compute the replica count: {problem}")
        counted = f"{len(failures)} invalid out of {len(inputs.metrics)}"
        _warn(outcome, "FailedComputeMetricsReplicas", f"invalid metrics ({counted}), first error is: {named}")
        return None
    if highest is not None:
        message = f"the HPA was able to successfully calculate a replica count from {highest.name}"
        _set(outcome, ACTIVE, _TRUE, "ValidMetricFound", message)
    return highest


def _stabilized(inputs: AutoscalingInputs, desired: int) -> tuple[str, str]:
    if inputs.behavior and desired >= inputs.spec_replicas:
        lowest = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return "ScaleUpStabilized", lowest
    highest = "recent recommendations were higher than current one, applying the highest recent recommendation"
    return "ScaleDownStabilized", highest


def _stop(inputs: AutoscalingInputs, outcome: AutoscalingOutcome) -> None:
    obstacle = inputs.obstacle
    outcome.failed = True
    _set(outcome, ABLE if obstacle.scale else ACTIVE, _FALSE, obstacle.reason, obstacle.message)
    _warn(outcome, obstacle.event, obstacle.problem)


def _set(outcome: AutoscalingOutcome, kind: str, status: str, reason: str, message: str) -> None:
    """Say a condition, in place of what was said of it before."""
    for condition in outcome.conditions:
        if condition.type == kind:
            condition.status, condition.reason, condition.message = status, reason, message
            return
    outcome.conditions.add(type=kind, status=status, reason=reason, message=message)


def _warn(outcome: AutoscalingOutcome, reason: str, message: str) -> None:
    outcome.warnings.add(reason=reason, message=message)
