"""What becomes of the number that the metrics ask for: stabilization windows, scaling policies, bounds.

Follows kube-controller-manager's normalisation. An autoscaler without a behavior has Kubernetes' default one; its limit
on growth (twice as many, or four) holds for 15 seconds rather than for one look at the metrics, as looks are frequent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from orch.autoscaling.arithmetic import MOST
from orch_pb.v1.autoscaling_pb2 import AutoscalingInputs, Recommendation, ScaleChange, ScalingPolicy, ScalingRules

NANOS: Final = 1_000_000_000
_DISABLED: Final = "Disabled"
_MIN: Final = "Min"
_PLAIN_PERIOD: Final = 15
_PLAIN_FACTOR: Final = 2
_PLAIN_LEAST: Final = 4

_Choice = Callable[[Sequence[int]], int]


class Limited(msgspec.Struct, frozen=True):
    """A number after its limits, and what is to be said of them."""

    replicas: int
    limited: bool
    reason: str
    message: str


def stabilize(inputs: AutoscalingInputs, history: Sequence[Recommendation], desired: int) -> int:
    """Return the number nearest to the current one that some recommendation within each window asked for.

    Without a behavior it is the highest one of the last minutes, as Kubernetes did before there were behaviors.
    """
    up_cutoff = inputs.at - inputs.up.stabilization_seconds * NANOS
    down_cutoff = inputs.at - inputs.down.stabilization_seconds * NANOS
    lowest = min((one.replicas for one in history if one.at > up_cutoff), default=desired)
    highest = max((one.replicas for one in history if one.at > down_cutoff), default=desired)
    if not inputs.behavior:
        return max(highest, desired)
    return min(max(inputs.spec_replicas, min(lowest, desired)), max(highest, desired))


def remember(inputs: AutoscalingInputs, history: Iterable[Recommendation], desired: int) -> list[Recommendation]:
    """Return the history with `desired` added, without what no window can come to be decided by any more.

    A recommendation is of no more use when it is older than both windows, or when later ones lie on both of its sides:
    then it is neither the highest nor the lowest of any window that has it. So the history stays as short as the
    recommendations are steady.
    """
    oldest = inputs.at - max(inputs.up.stabilization_seconds, inputs.down.stabilization_seconds) * NANOS
    kept = [Recommendation(at=inputs.at, replicas=desired)]
    lowest = highest = desired
    for one in sorted(history, key=_at, reverse=True):
        if one.at <= oldest:
            break
        if one.replicas < lowest or one.replicas > highest:
            kept.append(one)
            lowest, highest = min(lowest, one.replicas), max(highest, one.replicas)
    kept.reverse()
    return kept


def limit(inputs: AutoscalingInputs, desired: int) -> Limited:
    """Return the number that policies and bounds allow on the way from the current one to `desired`."""
    current = inputs.spec_replicas
    if desired > current:
        most = max(current, _growth(inputs))
        if inputs.max_replicas > most:
            found = "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
        else:
            most = inputs.max_replicas
            found = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
        if desired > most:
            return Limited(most, True, *found)
    if desired < current:
        least = min(current, _shrinkage(inputs))
        if inputs.min_replicas < least:
            found = "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
        else:
            least = inputs.min_replicas
            found = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
        if desired < least:
            return Limited(least, True, *found)
    return Limited(desired, False, "DesiredWithinRange", "the desired count is within the acceptable range")


def recent(changes: Iterable[ScaleChange], inputs: AutoscalingInputs) -> list[ScaleChange]:
    """Return the changes that a policy of either direction still looks at."""
    periods = (policy.period_seconds for rules in (inputs.up, inputs.down) for policy in rules.policies)
    oldest = inputs.at - max(periods, default=0) * NANOS
    return [change for change in changes if change.at > oldest]


def due_after(inputs: AutoscalingInputs, history: Iterable[Recommendation]) -> int:
    """Return the nanoseconds until the next window or period ends, 0 when none is open: then time changes nothing."""
    windows = (inputs.up.stabilization_seconds, inputs.down.stabilization_seconds)
    ends = [change.at + policy.period_seconds * NANOS for change in inputs.changes for policy in _policies(inputs)]
    ends += [one.at + window * NANOS for one in history if one.at < inputs.at for window in windows]
    return min((end - inputs.at for end in ends if end > inputs.at), default=0)


def _policies(inputs: AutoscalingInputs) -> Iterable[ScalingPolicy]:
    yield from inputs.up.policies
    yield from inputs.down.policies


def _growth(inputs: AutoscalingInputs) -> int:
    """Return to what number the policies let the target grow now."""
    rules = inputs.up
    if not inputs.behavior:
        return min(max(_PLAIN_FACTOR * _at_start_of(inputs, _PLAIN_PERIOD), _PLAIN_LEAST), MOST)
    if rules.select_policy == _DISABLED:
        return inputs.spec_replicas
    proposals: list[int] = []
    for policy in rules.policies:
        start = _at_start_of(inputs, policy.period_seconds)
        if policy.type == "Pods":
            proposals.append(start + policy.value)
        else:  # rounded up, since a change of less than one pod would never come about
            proposals.append(math.ceil(start * (1 + policy.value / 100)))
    return min(_selected(rules, proposals, inputs.spec_replicas, least=min, most=max), MOST)


def _shrinkage(inputs: AutoscalingInputs) -> int:
    """Return to what number the policies let the target shrink now."""
    rules = inputs.down
    if not inputs.behavior:
        return 0
    if rules.select_policy == _DISABLED:
        return inputs.spec_replicas
    proposals: list[int] = []
    for policy in rules.policies:
        start = _at_start_of(inputs, policy.period_seconds)
        if policy.type == "Pods":
            proposals.append(start - policy.value)
        else:
            proposals.append(int(start * (1 - policy.value / 100)))
    return max(_selected(rules, proposals, inputs.spec_replicas, least=max, most=min), 0)


def _selected(rules: ScalingRules, proposals: Sequence[int], current: int, *, least: _Choice, most: _Choice) -> int:
    """Return the proposal of the policy that changes least, or most."""
    if not proposals:
        return current
    return least(proposals) if rules.select_policy == _MIN else most(proposals)


def _at_start_of(inputs: AutoscalingInputs, seconds: int) -> int:
    """Return how many replicas there were before what this autoscaler changed in the last so many seconds."""
    cutoff = inputs.at - seconds * NANOS
    changed = sum(change.after - change.before for change in inputs.changes if change.at > cutoff)
    return inputs.spec_replicas - changed


def _at(one: Recommendation) -> int:
    return one.at
