"""How many replicas each metric asks for: desired = ceil(current * value / target), with Kubernetes' care around it.

Follows kube-controller-manager's replica calculator. What has no reading is assumed to use nothing when the others ask
for more pods, and its whole request or target when they ask for fewer; a change of direction by such assumptions is no
change. Ratios within the tolerance ask for what there is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from orch.autoscaling.grouping import Groups, group
from orch_pb.v1.autoscaling_pb2 import AutoscalingInputs, MetricInput, MetricProposal

MOST: Final = 2**31 - 1
"""What a count of replicas can be at most."""

_NO_PODS: Final = "no pods returned by selector while calculating replica count"
_NO_METRICS: Final = "did not receive metrics for targeted pods (pods might be unready)"
_NO_TARGET: Final = "the metric's target is not positive"


class _MetricError(Exception):
    """A metric from which no number follows; the message says why."""


def propose(inputs: AutoscalingInputs, metric: MetricInput) -> MetricProposal:
    """Return what a metric asks for, or (`error`) why it asks for nothing; worded as Kubernetes does."""
    proposal = MetricProposal(name=_name(metric))
    try:
        match metric.type:
            case "Resource" | "ContainerResource":
                _resource(inputs, metric, proposal)
            case "Pods":
                _pods(inputs, metric, proposal)
            case "Object":
                _object(inputs, metric, proposal)
            case "External":
                _external(inputs, metric, proposal)
            case other:
                proposal.error = f'unknown metric source type "{other}"'
    except _MetricError as error:
        proposal.error = str(error)
    return proposal


def _name(metric: MetricInput) -> str:
    """Return what messages call the metric."""
    target = metric.target
    match metric.type:
        case "Resource" | "ContainerResource" if target.HasField("average_value"):
            return f"{metric.name} resource"
        case "Resource":
            return f"{metric.name} resource utilization (percentage of request)"
        case "ContainerResource":
            return f"{metric.name} container resource utilization (percentage of request)"
        case "Pods":
            return f"pods metric {metric.name}"
        case "Object" if not target.HasField("average_value"):
            return f"{metric.described_kind} metric {metric.name}"
        case _:
            return f"external metric {metric.name}({metric.selector})"


def _resource(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    target = metric.target
    plain = target.HasField("average_value")
    if not plain and not target.HasField("average_utilization"):
        raise _MetricError(
            "invalid resource metric source: neither an average utilization target nor an average value (usage) "
            "target was set"
        )
    prefix = f"failed to get {metric.name} {'usage' if plain else 'utilization'}"
    if metric.error:
        raise _MetricError(f"{prefix}: unable to get metrics for resource {metric.name}: {metric.error}")
    try:
        if plain:
            _average(inputs, metric, proposal, metric.name)
        else:
            _utilization(inputs, metric, proposal)
    except _MetricError as error:
        raise _MetricError(f"{prefix}: {error}") from error


def _pods(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    if metric.error:
        raise _MetricError(f"unable to get metric {metric.name}: {metric.error}")
    _average(inputs, metric, proposal, "")


def _object(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    target = metric.target
    problem = ""
    if metric.error:
        where = f"{metric.described_kind} {metric.described_name}"
        problem = f"unable to get metric {metric.name}: {metric.error} on {where}"
    if target.HasField("average_value"):
        if problem:
            raise _MetricError(f"failed to get {metric.name} object metric: {problem}")
        _shared(inputs, metric, proposal)
    elif target.HasField("value"):
        if problem:
            raise _MetricError(problem)
        _whole(inputs, metric, proposal)
    else:
        raise _MetricError("invalid object metric source: neither a value target nor an average value target was set")


def _external(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    target = metric.target
    if not target.HasField("average_value") and not target.HasField("value"):
        raise _MetricError("invalid external metric source: neither a value target nor an average value target was set")
    if metric.error:
        raise _MetricError(f"failed to get {metric.name} external metric: {metric.error}")
    if target.HasField("average_value"):
        _shared(inputs, metric, proposal)
    else:
        _whole(inputs, metric, proposal)


# -- about each pod ------------------------------------------------------------------------------------------------


def _grouped(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal, resource: str) -> Groups:
    if not inputs.pods:
        raise _MetricError(_NO_PODS)
    groups = group(inputs, metric.readings, resource)
    proposal.ready, proposal.unready = groups.ready, len(groups.unready)
    proposal.missing, proposal.ignored = len(groups.missing), groups.ignored
    if not groups.values:
        raise _MetricError(_NO_METRICS)
    return groups


def _utilization(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    """Compare the use as a share of what was requested."""
    groups = _grouped(inputs, metric, proposal, metric.name)
    if metric.missing_request:
        raise _MetricError(metric.missing_request)
    target = _positive(metric.target.average_utilization)
    requests = dict(enumerate(metric.requests))
    percent = _percentage(groups.values, requests)
    proposal.average_utilization = percent
    proposal.average_value = _quotient(sum(groups.values.values()), len(groups.values))
    proposal.ratio = ratio = percent / target
    if (asked := _plainly(inputs, groups, ratio)) is not None:
        proposal.replicas = asked
        return
    whole = max(100, target)
    values = _assumed(groups, ratio, {place: requests[place] * whole // 100 for place in groups.missing})
    proposal.replicas = _cautiously(inputs, ratio, _percentage(values, requests) / target, len(values))


def _average(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal, resource: str) -> None:
    """Compare the mean of the pods' values."""
    groups = _grouped(inputs, metric, proposal, resource)
    target = _positive(metric.target.average_value)
    mean = _quotient(sum(groups.values.values()), len(groups.values))
    proposal.average_value = mean
    proposal.ratio = ratio = mean / target
    if (asked := _plainly(inputs, groups, ratio)) is not None:
        proposal.replicas = asked
        return
    values = _assumed(groups, ratio, dict.fromkeys(groups.missing, target))
    again = _quotient(sum(values.values()), len(values)) / target
    proposal.replicas = _cautiously(inputs, ratio, again, len(values))


def _percentage(values: Mapping[int, int], requests: Mapping[int, int]) -> int:
    requested = sum(requests[place] for place in values)
    if requested <= 0:
        raise _MetricError("no metrics returned matched known pods")
    return _bounded(_quotient(sum(values.values()) * 100, requested))


def _plainly(inputs: AutoscalingInputs, groups: Groups, ratio: float) -> int | None:
    """Return the number when every pod has its say; None when some have to be assumed."""
    if groups.missing or (groups.unready and ratio > 1):
        return None
    return inputs.spec_replicas if within(inputs, ratio) else _ceil(ratio * groups.ready)


def _assumed(groups: Groups, ratio: float, busy: Mapping[int, int]) -> dict[int, int]:
    """Return all values; those missing are as `busy` says when there is little to do, else idle."""
    values = dict(groups.values)
    if ratio < 1:
        values |= busy
    else:
        values |= dict.fromkeys(groups.missing, 0)
    if ratio > 1:
        values |= dict.fromkeys(groups.unready, 0)
    return values


def _cautiously(inputs: AutoscalingInputs, ratio: float, again: float, count: int) -> int:
    """Return the number that the assumed values ask for, unless they turn the direction."""
    current = inputs.spec_replicas
    if within(inputs, again) or (ratio < 1 < again) or (again < 1 < ratio):
        return current
    asked = _ceil(again * count)
    if (again < 1 and asked > current) or (again > 1 and asked < current):
        return current
    return asked


# -- about something else ------------------------------------------------------------------------------------------


def _whole(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    """Compare one value, which all pods together are to bring to its target."""
    target = _positive(metric.target.value)
    proposal.value = metric.value
    proposal.ratio = ratio = metric.value / target
    if inputs.spec_replicas == 0:
        proposal.replicas = _ceil(ratio)
    elif within(inputs, ratio):
        proposal.replicas = inputs.spec_replicas
    else:
        proposal.ready = sum(pod.phase == "Running" and pod.ready == "True" for pod in inputs.pods)
        proposal.replicas = _ceil(ratio * proposal.ready)


def _shared(inputs: AutoscalingInputs, metric: MetricInput, proposal: MetricProposal) -> None:
    """Compare one value, of which each pod is to have its share."""
    target = _positive(metric.target.average_value)
    pods = inputs.status_replicas
    proposal.average_value = -(-metric.value // pods) if pods > 0 else metric.value
    proposal.ratio = ratio = metric.value / (target * pods) if pods > 0 else metric.value / target
    proposal.replicas = pods if pods > 0 and within(inputs, ratio) else _ceil(metric.value / target)


def within(inputs: AutoscalingInputs, ratio: float) -> bool:
    """Return whether a ratio is near enough to 1."""
    return 1.0 - inputs.down.tolerance <= ratio <= 1.0 + inputs.up.tolerance


def _positive(target: int) -> int:
    if target <= 0:
        raise _MetricError(_NO_TARGET)
    return target


def _ceil(number: float) -> int:
    """Return the count of replicas that a number comes to. Measured values may be anything, replicas may not."""
    return math.ceil(max(0.0, min(number, MOST)))


def _bounded(number: int) -> int:
    return max(-MOST, min(number, MOST))


def _quotient(number: int, divisor: int) -> int:
    """Return the integer quotient, cut towards zero."""
    return number // divisor if number >= 0 else -(-number // divisor)
