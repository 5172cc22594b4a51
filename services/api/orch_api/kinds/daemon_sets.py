"""DaemonSets (k8s.io/kubernetes/pkg/registry/apps/daemonset)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, WORKLOAD_DETAILS, at, format_labels
from orch_api.kinds.pod_templates import MISMATCH, frozen_selector, lasting_template, matches
from orch_api.kinds.workload_rules import WorkloadStrategy, collisions, count, counts, share, share_of_all, share_value
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, put_section, section
from orch_api.validation import invalid, non_negative, required, same, unsupported

TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"
"""Where apps/v1 shows how often the template changed, a field of older versions."""

_STRATEGIES: Final = ("RollingUpdate", "OnDelete")
_WRITABLE_DISKS: Final = (
    "must be true for replicated pods > 1; GCE PD can only be mounted on multiple machines if it is read-only"
)
_COUNTS: Final = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


class DaemonSetStrategy(WorkloadStrategy):
    """The rules of daemon sets."""

    def default(self, obj: Document) -> None:
        """Replace pods one node after the other, keep ten revisions."""
        super().default(obj)
        spec: Document = obj["spec"]
        strategy = put_section(spec, "updateStrategy")
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = put_section(strategy, "rollingUpdate")
            for name, value in (("maxUnavailable", 1), ("maxSurge", 0)):
                if rolling.get(name) is None:
                    rolling[name] = value
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10

    def prepare_create(self, obj: Document) -> None:
        """Start counting the changes of the template, from where the user says."""
        super().prepare_create(obj)
        _count_template(obj, max(_template_generation(obj), 1))

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Count a change of the template."""
        super().prepare_update(obj, old)
        new, before = section(section(obj, "spec"), "template"), section(section(old, "spec"), "template")
        _count_template(obj, _template_generation(old) + (not same(new, before)))

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Keep the count of the template's changes, although annotations may change with the status."""
        super().prepare_status(obj, old)
        _count_template(obj, _template_generation(old))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the daemon set."""
        spec = section(obj, "spec")
        template = section(spec, "template")
        selector: Document | None = spec.get("selector")
        wrong = validation.label_selector("spec.selector", selector or {})
        causes = list(wrong)
        labels: dict[str, str] = section(section(template, "metadata"), "labels")
        if not wrong and (selector is None or not matches(selector, labels)):
            causes.append(invalid("spec.template.metadata.labels", labels, MISMATCH))
        if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
        causes += lasting_template("spec.template", template, "DaemonSet")
        causes += _read_only_disks("spec.template.spec.volumes", section(template, "spec"))
        causes += non_negative("spec.minReadySeconds", spec.get("minReadySeconds") or 0)
        causes += _update_strategy(section(spec, "updateStrategy"))
        return causes + non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit") or 0)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the selector changes."""
        return frozen_selector(obj, old)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be; the count of collisions never falls."""
        return counts(obj, *_COUNTS) + collisions(obj, old)


def _template_generation(obj: Document) -> int:
    text = section(section(obj, "metadata"), "annotations").get(TEMPLATE_GENERATION) or ""
    return int(text) if text.isdecimal() and text.isascii() else 0


def _count_template(obj: Document, number: int) -> None:
    put_section(obj["metadata"], "annotations")[TEMPLATE_GENERATION] = str(number)


def _read_only_disks(field: str, spec: Document) -> list[Cause]:
    """Return which disks pods on several nodes would write to (ValidateReadOnlyPersistentDisks)."""
    volumes: list[Document] = spec.get("volumes") or []
    return [
        invalid(f"{field}[{index}].gcePersistentDisk.readOnly", False, _WRITABLE_DISKS)
        for index, volume in enumerate(volumes)
        if (disk := volume.get("gcePersistentDisk")) is not None and not disk.get("readOnly")
    ]


def _update_strategy(strategy: Document) -> list[Cause]:
    field = "spec.updateStrategy"
    kind = strategy.get("type")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [unsupported(field, strategy, _STRATEGIES)]
    rolling: Document | None = strategy.get("rollingUpdate")
    if rolling is None:
        return [required(f"{field}.rollingUpdate")]
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    causes = share_of_all(f"{field}.rollingUpdate.maxUnavailable", unavailable)
    causes += share_of_all(f"{field}.rollingUpdate.maxSurge", surge)
    some = [not share(field, value) and share_value(value) != 0 for value in (unavailable, surge)]
    if all(some):
        problem = "may not be set when maxUnavailable is non-zero"
        causes.append(invalid(f"{field}.rollingUpdate.maxSurge", surge, problem))
    elif not any(some):
        causes.append(required(f"{field}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return causes


def _node_selector(obj: Document, now: datetime) -> str:
    _ = now
    return format_labels(at(obj, ("spec", "template", "spec", "nodeSelector")) or {})


RESOURCES: Final = (
    Resource(
        group="apps",
        plural="daemonsets",
        singular="daemonset",
        kind="DaemonSet",
        short_names=("ds",),
        categories=("all",),
        strategy=DaemonSetStrategy(),
        columns=(
            NAME,
            count("Desired", "status", "desiredNumberScheduled", description="Nodes that should run a pod."),
            count("Current", "status", "currentNumberScheduled", description="Nodes that should and do run a pod."),
            count("Ready", "status", "numberReady", description="Nodes whose pod is ready."),
            count("Up-to-date", "status", "updatedNumberScheduled", description="Nodes with a pod of this template."),
            count("Available", "status", "numberAvailable", description="Nodes whose pod serves."),
            Column("Node Selector", _node_selector, description="The labels of nodes that are to run a pod."),
            AGE,
            *WORKLOAD_DETAILS,
        ),
        subresources={"status": Subresource("DaemonSet", "apps")},
    ),
)
