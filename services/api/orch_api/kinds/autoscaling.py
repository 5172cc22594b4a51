"""HorizontalPodAutoscalers, stored as autoscaling/v2 and served as v1 too."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api.kinds.autoscaling_rules import autoscaler_spec
from orch_api.kinds.autoscaling_v1 import AutoscalerConversion, as_v2, split_annotations
from orch_api.kinds.columns import AGE, NAME, NONE, UNKNOWN, at, number
from orch_api.kinds.quantities import canonical
from orch_api.kinds.workload_rules import counts
from orch_api.resource import Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section

_CPU_UTILIZATION: Final = 80
_PERIOD: Final = 15
_BY_PERCENT: Final = {"type": "Percent", "value": 100, "periodSeconds": _PERIOD}
_BY_PODS: Final = {"type": "Pods", "value": 4, "periodSeconds": _PERIOD}
_SOURCES: Final = ("object", "pods", "resource", "containerResource", "external")


class AutoscalerStrategy(Strategy):
    """The rules of autoscalers, in autoscaling/v2."""

    has_status = True

    def default(self, obj: Document) -> None:
        """Keep one pod at least, and the CPU at 80 %; fill in a behavior that is partly given."""
        annotations, carried = split_annotations(obj)
        if carried:
            obj["metadata"]["annotations"] = annotations
        spec = put_section(obj, "spec")
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": _CPU_UTILIZATION}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        for metric in spec["metrics"]:
            _canonicalise(metric)
        behavior: Document | None = spec.get("behavior")
        if behavior is None:
            return
        up, down = put_section(behavior, "scaleUp"), put_section(behavior, "scaleDown")
        if up.get("stabilizationWindowSeconds") is None:
            up["stabilizationWindowSeconds"] = 0
        for rules, policies in ((up, [_BY_PODS, _BY_PERCENT]), (down, [_BY_PERCENT])):
            if rules.get("selectPolicy") is None:
                rules["selectPolicy"] = "Max"
            if rules.get("policies") is None:
                rules["policies"] = [dict(policy) for policy in policies]
            if rules.get("tolerance") is not None:
                rules["tolerance"] = canonical(str(rules["tolerance"]))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the autoscaler."""
        return autoscaler_spec(section(obj, "spec"))

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be."""
        _ = old
        return counts(obj, "currentReplicas", "desiredReplicas")


def _canonicalise(metric: Document) -> None:
    for name in _SOURCES:
        target = section(section(metric, name), "target")
        for part in ("value", "averageValue"):
            if target.get(part) is not None:
                target[part] = canonical(str(target[part]))


def _reference(obj: Document, now: datetime) -> str:
    _ = now
    target = section(section(obj, "spec"), "scaleTargetRef")
    return f"{target.get('kind') or ''}/{target.get('name') or ''}"


_SHOWN: Final = 2


def _targets(obj: Document, now: datetime) -> str:
    """Return what was measured, of what it is to be: cpu: 10%/80%, and two metrics at most."""
    _ = now
    metrics: list[Document] = section(obj, "spec").get("metrics") or []
    measured: list[Document] = section(obj, "status").get("currentMetrics") or []
    found = [_metric(metric, measured[index] if index < len(measured) else {}) for index, metric in enumerate(metrics)]
    shown = ", ".join(found[:_SHOWN])
    more = len(found) - _SHOWN
    return (f"{shown} + {more} more..." if more > 0 else shown) or NONE


def _metric(metric: Document, measured: Document) -> str:
    kind: str = metric.get("type") or ""
    part = f"{kind[:1].lower()}{kind[1:]}"
    if part not in _SOURCES:
        return "<unknown type>"
    target, current = section(section(metric, part), "target"), section(section(measured, part), "current")
    average: Any = target.get("averageValue")
    if part in {"resource", "containerResource"}:
        name = section(metric, part).get("name") or ""
        if average is not None:
            return f"{name}: {current.get('averageValue') or UNKNOWN}/{average}"
        return f"{name}: {_percent(current, UNKNOWN)}/{_percent(target, '<auto>')}"
    if part == "pods":
        return f"{current.get('averageValue') or UNKNOWN}/{average}"
    if average is not None:
        return f"{current.get('averageValue') or UNKNOWN}/{average} (avg)"
    return f"{current.get('value') or UNKNOWN}/{target.get('value')}"


def _percent(amounts: Document, missing: str) -> str:
    utilization = amounts.get("averageUtilization")
    return missing if utilization is None else f"{utilization}%"


def _targets_of_v1(obj: Document, now: datetime) -> str:
    return _targets(as_v2(obj), now)


def _min_pods(obj: Document, now: datetime) -> str:
    _ = now
    replicas = at(obj, ("spec", "minReplicas"))
    return "<unset>" if replicas is None else str(replicas)


def _columns(targets: Cell) -> tuple[Column, ...]:
    return (
        NAME,
        Column("Reference", _reference, description="The object whose replicas change."),
        Column("Targets", targets, description="What was measured of each metric, and what it is to be."),
        Column("MinPods", _min_pods, description="The fewest pods that there may be."),
        Column("MaxPods", number("spec", "maxReplicas"), description="The most pods that there may be."),
        Column("Replicas", number("status", "currentReplicas"), description="The pods that there are."),
        AGE,
    )


_V2: Final = Resource(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    strategy=AutoscalerStrategy(),
    columns=_columns(_targets),
    subresources={"status": Subresource("HorizontalPodAutoscaler", "autoscaling", "v2")},
)

RESOURCES: Final = (
    _V2,
    Resource(
        group=_V2.group,
        version="v1",
        plural=_V2.plural,
        singular=_V2.singular,
        kind=_V2.kind,
        short_names=_V2.short_names,
        categories=_V2.categories,
        strategy=_V2.strategy,
        columns=_columns(_targets_of_v1),
        subresources={"status": Subresource(_V2.kind, _V2.group, "v1")},
        stored_as=_V2,
        conversion=AutoscalerConversion(),
    ),
)
