"""The metrics of an autoscaler in the form of autoscaling/v1, and how they become those of v2.

v1 itself knows one metric, the utilization of the CPU. It carries all others, and what was measured, as JSON in
annotations, in the flat form of this module; autoscaling/v2 names a metric and its target separately.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from orch.objects.meta import LabelSelector
from orch_api.kinds.quantities import canonical
from orch_api.strategy import Document, section

Amount = str | int | float
_ZERO: Final = "0"


class _Target(msgspec.Struct, rename="camel", omit_defaults=True):
    kind: str = ""
    name: str = ""
    api_version: str | None = None


class _Flat(msgspec.Struct, rename="camel", omit_defaults=True):
    """What a metric of any type says in v1: of its source, or of what was measured."""

    target: _Target | None = None
    name: str | None = None
    metric_name: str | None = None
    container: str | None = None
    target_value: Amount | None = None
    current_value: Amount | None = None
    target_average_utilization: int | None = None
    current_average_utilization: int | None = None
    target_average_value: Amount | None = None
    current_average_value: Amount | None = None
    selector: LabelSelector | None = None
    metric_selector: LabelSelector | None = None
    average_value: Amount | None = None


class _Metric(msgspec.Struct, rename="camel", omit_defaults=True):
    type: str = ""
    object: _Flat | None = None
    pods: _Flat | None = None
    resource: _Flat | None = None
    container_resource: _Flat | None = None
    external: _Flat | None = None


class Condition(msgspec.Struct, rename="camel", omit_defaults=True):
    """A condition of an autoscaler, in both versions."""

    type: str = ""
    status: str = ""
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


_metrics: Final = msgspec.json.Decoder(list[_Metric]).decode
_conditions: Final = msgspec.json.Decoder(list[Condition]).decode


def read_metrics(text: str) -> list[Document] | None:
    """Return the v2 metrics of an annotation; None when it cannot be read, as users may write anything there."""
    try:
        return [_specified(metric) for metric in _metrics(text)]
    except msgspec.MsgspecError:
        return None


def read_current_metrics(text: str) -> list[Document] | None:
    """Return the v2 statuses of metrics of an annotation; None when it cannot be read."""
    try:
        return [_measured(metric) for metric in _metrics(text)]
    except msgspec.MsgspecError:
        return None


def read_conditions(text: str) -> list[Document] | None:
    """Return the conditions of an annotation; None when it cannot be read."""
    try:
        return [msgspec.to_builtins(condition) for condition in _conditions(text)]
    except msgspec.MsgspecError:
        return None


def _some(**values: Any) -> Document:
    return {name: value for name, value in values.items() if value is not None}


def _quantity(value: Amount | None) -> str | None:
    return None if value is None else canonical(str(value))


def _selector(selector: LabelSelector | None) -> Document | None:
    return None if selector is None else msgspec.to_builtins(selector)


def _reference(target: _Target | None) -> Document:
    return msgspec.to_builtins(target or _Target())


def _identifier(name: str | None, selector: LabelSelector | None) -> Document:
    return _some(name=name or "", selector=_selector(selector))


def _specified(metric: _Metric) -> Document:
    found: Document = {"type": metric.type}
    if (one := metric.object) is not None:
        average = _quantity(one.average_value)
        found["object"] = {
            "describedObject": _reference(one.target),
            "metric": _identifier(one.metric_name, one.selector),
            "target": _some(
                type="Value" if average is None else "AverageValue",
                value=_quantity(one.target_value) or _ZERO,
                averageValue=average,
            ),
        }
    if (one := metric.pods) is not None:
        found["pods"] = {
            "metric": _identifier(one.metric_name, one.selector),
            "target": {"type": "AverageValue", "averageValue": _quantity(one.target_average_value) or _ZERO},
        }
    for name, one in (("resource", metric.resource), ("containerResource", metric.container_resource)):
        if one is not None:
            target = _some(
                type="AverageValue" if one.target_average_utilization is None else "Utilization",
                averageUtilization=one.target_average_utilization,
                averageValue=_quantity(one.target_average_value),
            )
            found[name] = _some(name=one.name or "", container=one.container, target=target)
    if (one := metric.external) is not None:
        found["external"] = {
            "metric": _identifier(one.metric_name, one.metric_selector),
            "target": _some(
                type="AverageValue" if one.target_value is None else "Value",
                value=_quantity(one.target_value),
                averageValue=_quantity(one.target_average_value),
            ),
        }
    return found


def _measured(metric: _Metric) -> Document:
    found: Document = {"type": metric.type}
    if (one := metric.object) is not None:
        found["object"] = {
            "describedObject": _reference(one.target),
            "metric": _identifier(one.metric_name, one.selector),
            "current": _some(value=_quantity(one.current_value) or _ZERO, averageValue=_quantity(one.average_value)),
        }
    if (one := metric.pods) is not None:
        found["pods"] = {
            "metric": _identifier(one.metric_name, one.selector),
            "current": {"averageValue": _quantity(one.current_average_value) or _ZERO},
        }
    for name, one in (("resource", metric.resource), ("containerResource", metric.container_resource)):
        if one is not None:
            current = _some(
                averageUtilization=one.current_average_utilization,
                averageValue=_quantity(one.current_average_value) or _ZERO,
            )
            found[name] = _some(name=one.name or "", container=one.container, current=current)
    if (one := metric.external) is not None:
        found["external"] = {
            "metric": _identifier(one.metric_name, one.metric_selector),
            "current": _some(
                value=_quantity(one.current_value) or _ZERO, averageValue=_quantity(one.current_average_value)
            ),
        }
    return found


def flat_metric(metric: Document) -> Document:
    """Return a v2 metric as v1 writes it."""
    return _flattened(metric, "target")


def flat_current_metric(metric: Document) -> Document:
    """Return a v2 metric's status as v1 writes it."""
    return _flattened(metric, "current")


def _flattened(metric: Document, part: str) -> Document:
    """Return the metric with what `part` says in fields that begin with its name, in the order of v1's fields."""
    found: Document = {"type": metric.get("type") or ""}
    for name in ("object", "pods", "resource", "containerResource", "external"):
        source: Document | None = metric.get(name)
        if source is None:
            continue
        identifier, amounts = section(source, "metric"), section(source, part)
        value, average = amounts.get("value"), amounts.get("averageValue")
        metric_name, selector = identifier.get("name") or "", identifier.get("selector")
        whole, share = f"{part}Value", f"{part}AverageValue"
        always = _ZERO if part == "current" else None
        match name:
            case "object":
                parts = {
                    "target": section(source, "describedObject"),
                    "metricName": metric_name,
                    whole: value or _ZERO,
                    "selector": selector,
                    "averageValue": average,
                }
            case "pods":
                parts = {"metricName": metric_name, share: average or _ZERO, "selector": selector}
            case "external":
                parts = {"metricName": metric_name, "metricSelector": selector, whole: value or always, share: average}
            case _:
                utilization = amounts.get("averageUtilization")
                parts = {"name": source.get("name") or "", f"{part}AverageUtilization": utilization}
                parts |= {share: average or always, "container": source.get("container")}
        found[name] = _some(**parts)
    return found


class _Policy(msgspec.Struct, rename="lower", omit_defaults=True):
    type: str = ""
    value: int = 0
    period_seconds: int = msgspec.field(default=0, name="periodseconds")


class _Rules(msgspec.Struct, rename="lower", omit_defaults=True):
    stabilization_window_seconds: int | None = msgspec.field(default=None, name="stabilizationwindowseconds")
    select_policy: str | None = msgspec.field(default=None, name="selectpolicy")
    policies: list[_Policy] | None = None
    tolerance: Amount | None = None


class _Behavior(msgspec.Struct, rename="lower"):
    scale_up: _Rules | None = msgspec.field(default=None, name="scaleup")
    scale_down: _Rules | None = msgspec.field(default=None, name="scaledown")


def read_behavior(text: str) -> Document | None:
    """Return the behavior of an annotation; None when it cannot be read. Its fields are found in any case."""
    try:
        behavior = msgspec.convert(_lower(msgspec.json.decode(text)), _Behavior)
    except msgspec.MsgspecError:
        return None
    return _some(scaleUp=_rules(behavior.scale_up), scaleDown=_rules(behavior.scale_down))


def _rules(rules: _Rules | None) -> Document | None:
    if rules is None:
        return None
    policies = rules.policies
    return _some(
        stabilizationWindowSeconds=rules.stabilization_window_seconds,
        selectPolicy=rules.select_policy,
        policies=None if policies is None else [_policy(one) for one in policies],
        tolerance=_quantity(rules.tolerance),
    )


def _policy(policy: _Policy) -> Document:
    return {"type": policy.type, "value": policy.value, "periodSeconds": policy.period_seconds}


def _lower(value: Any) -> Any:
    """Return decoded JSON with the names of all fields in lower case."""
    if isinstance(value, dict):
        return {key.lower(): _lower(inner) for key, inner in cast("dict[str, Any]", value).items()}
    return [_lower(inner) for inner in cast("list[Any]", value)] if isinstance(value, list) else value


def written_behavior(behavior: Document) -> Document:
    """Return the behavior as Kubernetes writes it in the annotation: all fields, with capital letters."""
    return {f"S{name[1:]}": _written_rules(behavior.get(name)) for name in ("scaleUp", "scaleDown")}


def _written_rules(rules: Document | None) -> Document | None:
    if rules is None:
        return None
    policies: list[Document] | None = rules.get("policies")
    return {
        "StabilizationWindowSeconds": rules.get("stabilizationWindowSeconds"),
        "SelectPolicy": rules.get("selectPolicy"),
        "Policies": None
        if policies is None
        else [
            {"Type": one.get("type"), "Value": one.get("value"), "PeriodSeconds": one.get("periodSeconds")}
            for one in policies
        ],
        "Tolerance": rules.get("tolerance"),
    }
