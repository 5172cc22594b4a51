"""The status of an autoscaler as Kubernetes writes it, and when it is worth a write.

Use is measured every second; a status that followed it would be a write a second for each autoscaler. Readings are
written when they moved by more than the tolerance of their target, or together with anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch import quantity
from orch.autoscaling.recommend import TO_ZERO
from orch.clock import rfc3339
from orch.objects.autoscaling import HorizontalPodAutoscaler, Metric, MetricCurrent, MetricSource
from orch.objects.meta import Condition
from orch_pb.v1.autoscaling_pb2 import AutoscalingCondition, AutoscalingInputs, AutoscalingOutcome, MetricProposal

Document = dict[str, Any]

_FIELDS: Final = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def merged(known: Iterable[Condition], said: Iterable[AutoscalingCondition], now: datetime) -> list[Condition]:
    """Return the conditions with those that were said anew; a status that stays keeps its time."""
    conditions = {condition.type: condition for condition in known}
    for one in said:
        before = conditions.get(one.type)
        same = before is not None and before.status == one.status
        since = before.last_transition_time if before is not None and same else rfc3339(now)
        conditions[one.type] = Condition(
            type=one.type, status=one.status, reason=one.reason, message=one.message, last_transition_time=since
        )
    return list(conditions.values())


def zero_condition(*, scaled_to_zero: bool) -> AutoscalingCondition:
    """Return the condition that tells an idle workload from one that somebody stopped."""
    if scaled_to_zero:
        message = "the HPA controller scaled the workload to zero"
        return AutoscalingCondition(type=TO_ZERO, status="True", reason="ScaledToZero", message=message)
    message = "the HPA controller did not scale the workload to zero"
    return AutoscalingCondition(type=TO_ZERO, status="False", reason="NotScaledToZero", message=message)


def status_document(
    autoscaler: HorizontalPodAutoscaler,
    inputs: AutoscalingInputs,
    outcome: AutoscalingOutcome,
    said: Sequence[AutoscalingCondition],
    *,
    rescaled: bool,
    now: datetime,
) -> Document | None:
    """Return the new status; None when it is not worth a write."""
    status = autoscaler.status
    unknown = inputs.HasField("obstacle") and inputs.obstacle.scale
    desired = status.desired_replicas if outcome.failed else outcome.replicas
    current = status.current_replicas if unknown else inputs.spec_replicas
    conditions = merged(status.conditions, said, now)
    measured = list(outcome.proposals)
    steady = (
        not rescaled
        and status.observed_generation == autoscaler.metadata.generation
        and (status.current_replicas, status.desired_replicas) == (current, desired)
        and list(status.conditions) == conditions
        and (unknown or not _moved(autoscaler, inputs, measured))
    )
    if steady:
        return None
    document: Document = {
        "observedGeneration": autoscaler.metadata.generation,
        "currentReplicas": current,
        "desiredReplicas": desired,
        "conditions": [msgspec.to_builtins(condition) | {"status": condition.status} for condition in conditions],
    }
    if not unknown:
        specs = autoscaler.spec.metrics
        listed = [_measured(metric, one) for metric, one in zip(specs, measured, strict=False)]
        document["currentMetrics"] = listed or None
    if rescaled:
        document["lastScaleTime"] = rfc3339(now)
    return document


def _moved(autoscaler: HorizontalPodAutoscaler, inputs: AutoscalingInputs, measured: Sequence[MetricProposal]) -> bool:
    """Return whether the status tells readings that are too far from what was measured."""
    known = autoscaler.status.current_metrics or ()
    if len(known) != len(measured):
        return True
    tolerance = min(inputs.up.tolerance, inputs.down.tolerance)
    for metric, told, one in zip(autoscaler.spec.metrics, known, measured, strict=True):
        if bool(told.type) == bool(one.error):
            return True
        if not one.error and _differs(metric.source, told.current, one, tolerance):
            return True
    return False


def _differs(source: MetricSource, told: MetricCurrent, one: MetricProposal, tolerance: float) -> bool:
    target = source.target
    if target.average_utilization is not None:
        before, now, aim = told.average_utilization, one.average_utilization, target.average_utilization
    elif target.average_value is not None:
        before, now, aim = _milli(told.average_value), one.average_value, quantity.milli(target.average_value)
    else:
        before, now, aim = _milli(told.value), one.value, quantity.milli(target.value or "0")
    return before is None or abs(now - before) > tolerance * aim


def _measured(metric: Metric, one: MetricProposal) -> Document:
    """Return the status of a metric; one that could not be read is told by an empty type, as Kubernetes does."""
    field = _FIELDS.get(metric.type)
    if one.error or field is None:
        return {"type": ""}
    current: Document = {}
    if one.HasField("average_utilization"):
        current["averageUtilization"] = one.average_utilization
    if one.HasField("average_value"):
        current["averageValue"] = _quantity(one.average_value)
    if one.HasField("value"):
        current["value"] = _quantity(one.value)
    source = metric.source
    told: Document = {"current": current}
    if metric.type in {"Resource", "ContainerResource"}:
        told["name"] = source.name
        if source.container:
            told["container"] = source.container
    else:
        told["metric"] = msgspec.to_builtins(source.metric)
    if metric.type == "Object":
        told["describedObject"] = msgspec.to_builtins(source.described_object)
    return {"type": metric.type, field: told}


def _quantity(milli: int) -> str:
    return quantity.canonical(f"{milli}m")


def _milli(text: str | None) -> int | None:
    return None if text is None else quantity.milli(text)
