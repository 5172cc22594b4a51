"""ReplicationControllers, from which replica sets came (k8s.io/kubernetes/pkg/registry/core/replicationcontroller)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, container_columns, format_labels
from orch_api.kinds.fields import field
from orch_api.kinds.pod_defaults import default_pod_spec
from orch_api.kinds.pod_templates import MISMATCH, lasting_template
from orch_api.kinds.workload_rules import SCALE, ReplicatedStrategy, count, counts, counts_of_replicas
from orch_api.resource import Column, Resource, ScalePaths, Subresource
from orch_api.strategy import Document, Propagation, put_section, section
from orch_api.validation import invalid, non_negative, required


class ReplicationControllerStrategy(ReplicatedStrategy):
    """The rules of replication controllers. Their selector is a plain map of labels, and may change."""

    def default(self, obj: Document) -> None:
        """Ask for one replica; select, and be labelled, as the template is labelled."""
        spec = put_section(obj, "spec")
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        template: Document | None = spec.get("template")
        if template is None:
            return
        default_pod_spec(put_section(template, "spec"))
        labels: dict[str, str] = section(section(template, "metadata"), "labels")
        if labels and not spec.get("selector"):
            spec["selector"] = dict(labels)
        metadata = put_section(obj, "metadata")
        if labels and not metadata.get("labels"):
            metadata["labels"] = dict(labels)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the replication controller."""
        spec = section(obj, "spec")
        selector: dict[str, str] = section(spec, "selector")
        causes = non_negative("spec.minReadySeconds", spec.get("minReadySeconds") or 0)
        if not selector:
            causes.append(required("spec.selector"))
        causes += non_negative("spec.replicas", spec.get("replicas") or 0)
        template: Document | None = spec.get("template")
        if template is None:
            return [*causes, required("spec.template")]
        labels: dict[str, str] = section(section(template, "metadata"), "labels")
        if not selector.items() <= labels.items():
            causes.append(invalid("spec.template.metadata.labels", labels, MISMATCH))
        return causes + lasting_template("spec.template", template, "ReplicationController")

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be."""
        _ = old
        parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        return counts(obj, "replicas", *parts, "observedGeneration") + counts_of_replicas(obj, *parts)

    def default_propagation(self) -> Propagation:
        """Leave the pods running, as it was before there was a garbage collector."""
        return "Orphan"


def _selector(obj: Document, now: datetime) -> str:
    _ = now
    return format_labels(section(section(obj, "spec"), "selector"))


RESOURCES: Final = (
    Resource(
        plural="replicationcontrollers",
        singular="replicationcontroller",
        kind="ReplicationController",
        short_names=("rc",),
        categories=("all",),
        strategy=ReplicationControllerStrategy(),
        columns=(
            NAME,
            count("Desired", "spec", "replicas", description="Number of pods that are wanted."),
            count("Current", "status", "replicas", description="Number of pods that exist."),
            count("Ready", "status", "readyReplicas", description="Number of pods that are ready."),
            AGE,
            *container_columns("spec", "template"),
            Column("Selector", _selector, description="Which pods belong to the object.", priority=1),
        ),
        subresources={"status": Subresource("ReplicationController"), **SCALE},
        scale=ScalePaths(plain_selector=True),
        fields={"status.replicas": field("status", "replicas", missing="0")},
    ),
)
