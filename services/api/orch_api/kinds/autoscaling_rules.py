"""What a HorizontalPodAutoscaler must be, in autoscaling/v2 (k8s.io/kubernetes/pkg/apis/autoscaling/validation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orch import quantity
from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document, section
from orch_api.validation import check, forbidden, invalid, quantity_value, required, unsupported

_SOURCES: Final = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
"""The field of each type of metric, in the order in which they are looked at."""

_TARGETS: Final = ("Utilization", "Value", "AverageValue")
_SELECT_POLICIES: Final = ("Disabled", "Max", "Min")
_POLICY_TYPES: Final = ("Percent", "Pods")
_MAX_PERIOD: Final = 1800
_MAX_WINDOW: Final = 3600
_NOT_POSITIVE: Final = "must be greater than zero"


def autoscaler_spec(spec: Document) -> list[Cause]:
    """Return what is wrong with the spec of an autoscaler."""
    causes: list[Cause] = []
    low: int | None = spec.get("minReplicas")
    high: int = spec.get("maxReplicas") or 0
    if low is not None and low < 0:
        causes.append(invalid("spec.minReplicas", low, "must be greater than or equal to 0"))
    if high < 1:
        causes.append(invalid("spec.maxReplicas", high, "must be greater than 0"))
    if low is not None and high < low:
        causes.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    target = section(spec, "scaleTargetRef")
    causes += _reference("spec.scaleTargetRef", target, core=target.get("kind") == "ReplicationController")
    metrics: list[Document] = spec.get("metrics") or []
    for index, metric in enumerate(metrics):
        causes += _metric(f"spec.metrics[{index}]", metric)
    if low == 0 and not any(metric.get("type") in {"Object", "External"} for metric in metrics):
        problem = "must specify at least one Object or External metric to support scaling to zero replicas"
        causes.append(forbidden("spec.metrics", problem))
    for direction in ("scaleUp", "scaleDown"):
        rules: Document | None = section(spec, "behavior").get(direction)
        if rules is not None:
            causes += _scaling_rules(f"spec.behavior.{direction}", rules)
    return causes


def _reference(at: str, reference: Document, *, core: bool) -> list[Cause]:
    """Return what is wrong with a reference to an object; `core` allows kinds without a group."""
    causes: list[Cause] = []
    for name in ("kind", "name"):
        value: str = reference.get(name) or ""
        causes += check(f"{at}.{name}", value, validation.path_segment) if value else [required(f"{at}.{name}")]
    version: str = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        causes.append(invalid(f"{at}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    elif not core and not version.rpartition("/")[0]:
        causes.append(invalid(f"{at}.apiVersion", version, "apiVersion must specify API group"))
    return causes


def _metric(at: str, metric: Document) -> list[Cause]:
    kind: str = metric.get("type") or ""
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{at}.type", "must specify a metric source type"))
    if kind not in _SOURCES:
        causes.append(unsupported(f"{at}.type", kind, sorted(_SOURCES)))
    present = [name for name in _SOURCES.values() if metric.get(name) is not None]
    if present:
        causes += _RULES[present[0]](f"{at}.{present[0]}", metric[present[0]])
    expected = _SOURCES.get(kind)
    if expected is not None and expected not in present:
        causes.append(required(f"{at}.{expected}", "must populate information for the given metric source"))
    if len(present) != 1:
        causes += [
            forbidden(f"{at}.{name}", "must populate the given metric source only")
            for name in present
            if name != expected
        ]
    return causes


def _identifier(at: str, source: Document) -> list[Cause]:
    name: str = section(source, "metric").get("name") or ""
    if not name:
        return [required(f"{at}.metric.name", "must specify a metric name")]
    return check(f"{at}.metric.name", name, validation.path_segment)


def _target(at: str, target: Document) -> list[Cause]:
    kind: str = target.get("type") or ""
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{at}.type", "must specify a metric target type"))
    if kind not in _TARGETS:
        causes.append(invalid(f"{at}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for name in ("value", "averageValue"):
        value = target.get(name)
        if value is not None and not _is_positive(value):
            causes.append(invalid(f"{at}.{name}", str(value), "must be positive"))
    utilization: int | None = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        causes.append(invalid(f"{at}.averageUtilization", utilization, "must be greater than 0"))
    return causes


def _is_positive(value: object) -> bool:
    try:
        return quantity.parse(str(value)).nanos > 0
    except ValueError:
        return False


def _object_source(at: str, source: Document) -> list[Cause]:
    target = section(source, "target")
    causes = _reference(f"{at}.describedObject", section(source, "describedObject"), core=True)
    causes += _identifier(at, source) + _target(f"{at}.target", target)
    if target.get("value") is None and target.get("averageValue") is None:
        causes.append(required(f"{at}.target.averageValue", "must set either a target value or averageValue"))
    return causes


def _external_source(at: str, source: Document) -> list[Cause]:
    target = section(source, "target")
    causes = _identifier(at, source) + _target(f"{at}.target", target)
    given = [target.get(name) is not None for name in ("value", "averageValue")]
    if not any(given):
        problem = "must set either a target value for metric or a per-pod target"
        causes.append(required(f"{at}.target.averageValue", problem))
    if all(given):
        problem = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden(f"{at}.target.value", problem))
    return causes


def _pods_source(at: str, source: Document) -> list[Cause]:
    target = section(source, "target")
    causes = _identifier(at, source) + _target(f"{at}.target", target)
    if not _is_positive(target.get("averageValue")):
        causes.append(required(f"{at}.target.averageValue", "must specify a positive target averageValue"))
    return causes


def _resource_source(at: str, source: Document) -> list[Cause]:
    target = section(source, "target")
    causes = [] if source.get("name") else [required(f"{at}.name", "must specify a resource name")]
    causes += _target(f"{at}.target", target)
    given = [target.get(name) is not None for name in ("averageUtilization", "averageValue")]
    if not any(given):
        problem = "must set either a target raw value or a target utilization"
        causes.append(required(f"{at}.target.averageUtilization", problem))
    if all(given):
        problem = "may not set both a target raw value and a target utilization"
        causes.append(forbidden(f"{at}.target.averageValue", problem))
    return causes


def _container_source(at: str, source: Document) -> list[Cause]:
    causes = [] if source.get("container") else [required(f"{at}.container", "must specify a container")]
    return causes + _resource_source(at, source)


_RULES: Final[dict[str, Callable[[str, Document], list[Cause]]]] = {
    "object": _object_source,
    "external": _external_source,
    "pods": _pods_source,
    "resource": _resource_source,
    "containerResource": _container_source,
}


def _scaling_rules(at: str, rules: Document) -> list[Cause]:
    causes: list[Cause] = []
    window: int = rules.get("stabilizationWindowSeconds") or 0
    if window < 0:
        problem = "must be greater than or equal to zero"
        causes.append(invalid(f"{at}.stabilizationWindowSeconds", window, problem))
    if window > _MAX_WINDOW:
        problem = f"must be less than or equal to {_MAX_WINDOW}"
        causes.append(invalid(f"{at}.stabilizationWindowSeconds", window, problem))
    select = rules.get("selectPolicy")
    if select is not None and select not in _SELECT_POLICIES:
        causes.append(unsupported(f"{at}.selectPolicy", select, _SELECT_POLICIES))
    policies: list[Document] = rules.get("policies") or []
    if not policies:
        causes.append(required(f"{at}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(policies):
        causes += _scaling_policy(f"{at}.policies[{index}]", policy)
    if (tolerance := rules.get("tolerance")) is not None:
        causes += quantity_value(f"{at}.tolerance", tolerance)
    return causes


def _scaling_policy(at: str, policy: Document) -> list[Cause]:
    kind: str = policy.get("type") or ""
    period: int = policy.get("periodSeconds") or 0
    causes = [] if kind in _POLICY_TYPES else [unsupported(f"{at}.type", kind, _POLICY_TYPES)]
    if (value := policy.get("value") or 0) <= 0:
        causes.append(invalid(f"{at}.value", value, _NOT_POSITIVE))
    if period <= 0:
        causes.append(invalid(f"{at}.periodSeconds", period, _NOT_POSITIVE))
    if period > _MAX_PERIOD:
        causes.append(invalid(f"{at}.periodSeconds", period, f"must be less than or equal to {_MAX_PERIOD}"))
    return causes
