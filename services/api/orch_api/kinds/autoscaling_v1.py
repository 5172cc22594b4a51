"""HorizontalPodAutoscalers of autoscaling/v1: what it has no fields for travels in annotations.

autoscaling.alpha.kubernetes.io/metrics, /behavior, /current-metrics and /conditions carry what only v2 can say, so that
a client of v1 loses nothing when it writes back what it read. Stored objects never have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from orch_api.kinds.autoscaling_metrics import (
    flat_current_metric,
    flat_metric,
    read_behavior,
    read_conditions,
    read_current_metrics,
    read_metrics,
    written_behavior,
)
from orch_api.strategy import Document, section

_PREFIX: Final = "autoscaling.alpha.kubernetes.io"
_METRICS: Final = f"{_PREFIX}/metrics"
_BEHAVIOR: Final = f"{_PREFIX}/behavior"
_CURRENT: Final = f"{_PREFIX}/current-metrics"
_CONDITIONS: Final = f"{_PREFIX}/conditions"
_ANNOTATIONS: Final = (_METRICS, _BEHAVIOR, _CURRENT, _CONDITIONS)
_TARGET: Final = "targetCPUUtilizationPercentage"
_MEASURED: Final = "currentCPUUtilizationPercentage"


class AutoscalerConversion:
    """Turns documents of autoscaling/v1 into those of v2, and back."""

    async def to_storage(self, documents: Sequence[Document]) -> list[Document]:
        """Return documents of v1 as v2."""
        return [as_v2(one) for one in documents]

    async def to_served(self, documents: Sequence[Document]) -> list[Document]:
        """Return documents of v2 as v1."""
        return [as_v1(one) for one in documents]


def split_annotations(document: Document) -> tuple[dict[str, str], dict[str, str]]:
    """Return the annotations of a document that are the user's, and those that only v1 says something in."""
    annotations: dict[str, str] = section(section(document, "metadata"), "annotations")
    carried = {name: annotations[name] for name in _ANNOTATIONS if name in annotations}
    return {name: value for name, value in annotations.items() if name not in carried}, carried


def _annotated(document: Document, annotations: dict[str, str]) -> Document:
    """Return the metadata with other annotations."""
    metadata = dict(section(document, "metadata"))
    metadata.pop("annotations", None)
    return metadata | {"annotations": annotations} if annotations else metadata


def as_v2(document: Document) -> Document:
    """Return a document of v1 as v2; what cannot be read in an annotation is dropped with it."""
    kept, carried = split_annotations(document)
    result: Document = document | {"apiVersion": "autoscaling/v2", "metadata": _annotated(document, kept)}
    metrics = read_metrics(carried.get(_METRICS, "[]")) or []
    current = read_current_metrics(carried.get(_CURRENT, "[]")) or []
    if (spec := document.get("spec")) is not None:
        spec = dict(spec)
        if (target := spec.pop(_TARGET, None)) is not None:
            metrics.append(_cpu("target", type="Utilization", averageUtilization=target))
        if metrics:
            spec["metrics"] = metrics
        if _BEHAVIOR in carried and (behavior := read_behavior(carried[_BEHAVIOR])) is not None:
            spec["behavior"] = behavior
        result["spec"] = spec
    status: Document = dict(section(document, "status"))
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    if (measured := status.pop(_MEASURED, None)) is not None and not current:
        current = [_cpu("current", averageUtilization=measured)]
    if current:
        status["currentMetrics"] = current
    if conditions := read_conditions(carried.get(_CONDITIONS, "[]")):
        status["conditions"] = conditions
    if status:
        result["status"] = status
    return result


def as_v1(document: Document) -> Document:
    """Return a document of v2 as v1."""
    result: Document = document | {"apiVersion": "autoscaling/v1"}
    annotations, _ = split_annotations(document)
    if (spec := document.get("spec")) is not None:
        result["spec"] = _spec_as_v1(spec, annotations)
    if (status := document.get("status")) is not None:
        result["status"] = _status_as_v1(status, annotations)
    result["metadata"] = _annotated(document, annotations)
    return result


def _spec_as_v1(spec: Document, annotations: dict[str, str]) -> Document:
    spec = dict(spec)
    metrics: list[Document] = spec.pop("metrics", None) or []
    behavior: Document | None = spec.pop("behavior", None)
    first = next((one for one in metrics if _is_cpu(one)), None)
    if first is not None and (utilization := _utilization(first, "target")) is not None:
        spec[_TARGET] = utilization
    others = [flat_metric(one) for one in metrics if not (_is_cpu(one) and _utilization(one, "target") is not None)]
    if others:
        annotations[_METRICS] = _written(others)
    if behavior is not None:
        annotations[_BEHAVIOR] = _written(written_behavior(behavior))
    return spec


def _status_as_v1(status: Document, annotations: dict[str, str]) -> Document:
    status = {"currentReplicas": 0, "desiredReplicas": 0} | status  # what v2 leaves out v1 shows
    current: list[Document] = status.pop("currentMetrics", None) or []
    conditions: list[Document] = status.pop("conditions", None) or []
    for metric in current:
        utilization = _utilization(metric, "current") if _is_cpu(metric) else None
        if utilization is not None:
            status[_MEASURED] = utilization
    if current:
        annotations[_CURRENT] = _written([flat_current_metric(one) for one in current])
    if conditions:
        annotations[_CONDITIONS] = _written([_condition(one) for one in conditions])
    return status


def _condition(condition: Document) -> Document:
    shown: Document = {name: condition.get(name) for name in ("type", "status", "lastTransitionTime")}
    return shown | {name: condition[name] for name in ("reason", "message") if condition.get(name)}


def _cpu(part: str, **values: Any) -> Document:
    return {"type": "Resource", "resource": {"name": "cpu", part: values}}


def _is_cpu(metric: Document) -> bool:
    return metric.get("type") == "Resource" and section(metric, "resource").get("name") == "cpu"


def _utilization(metric: Document, part: str) -> int | None:
    return section(section(metric, "resource"), part).get("averageUtilization")


def _written(value: Any) -> str:
    return msgspec.json.encode(value).decode()
