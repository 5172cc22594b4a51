"""`orch explain hpa NAME`: what an autoscaler reads, what each metric asks for, what limits it, what it did."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from orch.bus.subjects import DECISIONS, decision_subject
from orch.clock import rfc3339
from orch.errors import BusError, NotFoundError
from orch_cli.answers import duration, fields, table
from orch_cli.session import Session, newest
from orch_pb.v1.autoscaling_pb2 import AutoscalingDecision, AutoscalingInputs, MetricInput, MetricProposal

_NANO: Final = 1_000_000_000
_MEMORY: Final = "memory"
_ABOUT_PODS: Final = frozenset({"Resource", "ContainerResource", "Pods"})


class Proposal(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What one metric says. `pods`: how many were ready, starting, without a reading, and not counted."""

    metric: str
    current: str
    target: str
    ratio: float
    replicas: int
    pods: tuple[int, int, int, int]
    error: str = ""


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """A change that the autoscaler made."""

    time: str
    before: int
    after: int
    reason: str


class PodState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A pod as the autoscaler saw it, and what was read of each metric in `readings`; "" for nothing."""

    name: str
    phase: str
    ready: str
    readings: tuple[str, ...]


class AutoscalerExplanation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The newest decision about an autoscaler."""

    namespace: str
    name: str
    target: str
    time: str
    age_seconds: float
    replicas: int
    wanted: int
    bounds: tuple[int, int]
    metrics_ask: int
    stabilized: int
    proposals: tuple[Proposal, ...] = ()
    conditions: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    history: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()
    readings: tuple[str, ...] = ()
    pods: tuple[PodState, ...] = ()
    error: str = ""

    def text(self) -> str:
        """Return it for a person to read."""
        low, high = self.bounds
        step = f"{self.replicas} → {self.wanted}" if self.wanted != self.replicas else f"{self.replicas}, kept"
        lines = fields(
            (
                ("Autoscaler", f"{self.namespace}/{self.name}"),
                ("Target", f"{self.target}, {low} to {high} replicas"),
                ("Replicas", step),
                ("Decided", f"{duration(self.age_seconds)} ago, at {self.time}"),
                ("Failed", self.error),
                ("Limited by", "\n".join(self.limits) or "nothing"),
                ("Conditions", "\n".join(self.conditions)),
            )
        )
        if self.proposals:
            rows = [(one.metric, one.current, one.target, _asks(one), _pods(one)) for one in self.proposals]
            lines += ["", *table(("METRIC", "NOW", "TARGET", "ASKS FOR", "PODS"), rows)]
        if self.pods:
            rows = [(pod.name, pod.phase, pod.ready or "-", *(one or "-" for one in pod.readings)) for pod in self.pods]
            lines += ["", *table(("POD", "PHASE", "READY", *(name.upper() for name in self.readings)), rows)]
        if self.changes:
            rows = [(one.time, f"{one.before} → {one.after}", one.reason) for one in reversed(self.changes)]
            lines += ["", *table(("CHANGED", "REPLICAS", "REASON"), rows)]
        return "\n".join(lines)


async def explain_hpa(session: Session, namespace: str, name: str) -> AutoscalerExplanation:
    """Return the explanation of the newest decision on the bus. Raises NotFoundError when there is none."""
    subject = decision_subject("autoscaler", namespace, name)
    found = await newest(session.bus, DECISIONS.name, subject)
    if not found:
        raise NotFoundError.of("horizontalpodautoscalers", "autoscaling", name)
    try:
        decision = AutoscalingDecision.FromString(found[-1].data)
    except DecodeError as error:
        raise BusError(f"the decision on {subject} cannot be read: {error}") from error
    return explanation(decision, time.time())


def explanation(decision: AutoscalingDecision, now: float) -> AutoscalerExplanation:
    """Return a decision in words. `now`: seconds since 1970."""
    inputs, outcome = decision.inputs, decision.outcome
    read = list(zip(inputs.metrics, outcome.proposals, strict=False))
    return AutoscalerExplanation(
        namespace=decision.namespace,
        name=decision.name,
        target=decision.target,
        time=_moment(inputs.at),
        age_seconds=max(now - inputs.at / _NANO, 0),
        replicas=inputs.spec_replicas,
        wanted=outcome.replicas,
        bounds=(inputs.min_replicas, inputs.max_replicas),
        metrics_ask=outcome.metrics_replicas,
        stabilized=outcome.stabilized_replicas,
        proposals=tuple(_proposal(metric, one) for metric, one in read),
        conditions=tuple(f"{one.type}={one.status} {one.reason}: {one.message}" for one in outcome.conditions),
        limits=tuple(_limits(decision)),
        history=tuple(one.replicas for one in outcome.history),
        changes=tuple(Change(_moment(one.at), one.before, one.after, one.reason) for one in decision.changes),
        readings=tuple(metric.name for metric in inputs.metrics if metric.type in _ABOUT_PODS),
        pods=tuple(_pods_of(inputs)),
        error=decision.error,
    )


def _limits(decision: AutoscalingDecision) -> list[str]:
    """Return what made of the metrics' number another one."""
    inputs, outcome = decision.inputs, decision.outcome
    if outcome.failed:
        return ["nothing was decided: see the conditions"]
    if outcome.stabilized_replicas == 0 and not outcome.proposals:
        return [outcome.reason] if outcome.reason else []
    found: list[str] = []
    asked, stable = outcome.metrics_replicas, outcome.stabilized_replicas
    if stable != asked:
        window = inputs.down.stabilization_seconds if stable > asked else inputs.up.stabilization_seconds
        found.append(f"the stabilization window of {window} s: the metrics ask for {asked}, {stable} counts")
    return found + [
        f"{condition.reason}: {condition.message}: {stable} are wanted, {outcome.replicas} allowed"
        for condition in outcome.conditions
        if condition.type == "ScalingLimited" and condition.status == "True"
    ]


def _proposal(metric: MetricInput, one: MetricProposal) -> Proposal:
    pods = (one.ready, one.unready, one.missing, one.ignored)
    current = _current(metric, one)
    return Proposal(one.name, current, _target(metric), round(one.ratio, 3), one.replicas, pods, one.error)


def _current(metric: MetricInput, one: MetricProposal) -> str:
    if one.error:
        return "unknown"
    if one.HasField("average_utilization"):
        return f"{one.average_utilization}% ({_amount(metric, one.average_value)})"
    return _amount(metric, one.average_value if one.HasField("average_value") else one.value)


def _target(metric: MetricInput) -> str:
    target = metric.target
    if target.HasField("average_utilization"):
        return f"{target.average_utilization}%"
    if target.HasField("average_value"):
        return f"{_amount(metric, target.average_value)} a pod"
    return _amount(metric, target.value)


def _amount(metric: MetricInput, milli: int) -> str:
    if metric.name == _MEMORY:
        return f"{milli / 1000 / 2**20:.0f}Mi"
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def _asks(one: Proposal) -> str:
    return one.error or f"{one.replicas} (x {one.ratio:g})"


def _pods(one: Proposal) -> str:
    named = zip(("ready", "starting", "without a reading", "not counted"), one.pods, strict=True)
    return ", ".join(f"{count} {name}" for name, count in named if count)


def _pods_of(inputs: AutoscalingInputs) -> list[PodState]:
    about = [metric for metric in inputs.metrics if metric.type in _ABOUT_PODS]
    readings = [{one.pod: _amount(metric, one.value) for one in metric.readings} for metric in about]
    return [
        PodState(
            pod.name, "Deleted" if pod.deleted else pod.phase, pod.ready, tuple(one.get(place, "") for one in readings)
        )
        for place, pod in enumerate(inputs.pods)
    ]


def _moment(nanos: int) -> str:
    return rfc3339(datetime.fromtimestamp(nanos / _NANO, UTC))
