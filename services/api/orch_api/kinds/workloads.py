"""Deployments and ReplicaSets."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, WORKLOAD_DETAILS
from orch_api.kinds.fields import field
from orch_api.kinds.pod_templates import frozen_selector, selector_and_template
from orch_api.kinds.workload_rules import (
    SCALE,
    ReplicatedStrategy,
    collisions,
    count,
    counts,
    counts_of_replicas,
    ready,
    share,
    share_of_all,
    share_value,
)
from orch_api.resource import Column, Resource, ScalePaths, Subresource
from orch_api.strategy import Document, keep, put_section, section
from orch_api.validation import forbidden, invalid, non_negative, required, same

_DEFAULT_SHARE: Final = "25%"
_STRATEGIES: Final = ("Recreate", "RollingUpdate")


class DeploymentStrategy(ReplicatedStrategy):
    """The rules of deployments."""

    def default(self, obj: Document) -> None:
        """Roll out by quarters, keep ten revisions, give up after ten minutes without progress."""
        super().default(obj)
        spec: Document = obj["spec"]
        strategy = put_section(spec, "strategy")
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = put_section(strategy, "rollingUpdate")
            for name in ("maxUnavailable", "maxSurge"):
                if rolling.get(name) is None:
                    rolling[name] = _DEFAULT_SHARE
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if spec.get("progressDeadlineSeconds") is None:
            spec["progressDeadlineSeconds"] = 600

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Count annotations too: the controller copies them to its replica sets."""
        if super().changes_generation(obj, old):
            return True
        return not same(section(obj, "metadata").get("annotations"), section(old, "metadata").get("annotations"))

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Keep the labels as well."""
        super().prepare_status(obj, old)
        keep(obj["metadata"], old["metadata"], "labels")

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the deployment."""
        spec = section(obj, "spec")
        causes = non_negative("spec.replicas", spec.get("replicas") or 0)
        causes += selector_and_template(spec, "deployment")
        causes += _update_strategy(section(spec, "strategy"))
        ready: int = spec.get("minReadySeconds") or 0
        causes += non_negative("spec.minReadySeconds", ready)
        causes += non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit") or 0)
        deadline: int | None = spec.get("progressDeadlineSeconds")
        if deadline is not None:
            causes += non_negative("spec.progressDeadlineSeconds", deadline)
            if deadline <= ready:
                problem = "must be greater than minReadySeconds"
                causes.append(invalid("spec.progressDeadlineSeconds", deadline, problem))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the selector changes."""
        return frozen_selector(obj, old)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be; the count of collisions never falls."""
        parts = ("updatedReplicas", "readyReplicas", "availableReplicas")
        whole = ("observedGeneration", "replicas", *parts, "unavailableReplicas", "terminatingReplicas")
        causes = counts(obj, *whole, "collisionCount") + counts_of_replicas(obj, *parts)
        return causes + collisions(obj, old)


def _update_strategy(strategy: Document) -> list[Cause]:
    at = "spec.strategy"
    kind: str = strategy.get("type") or ""
    rolling: Document | None = strategy.get("rollingUpdate")
    if kind == "Recreate":
        problem = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(f"{at}.rollingUpdate", problem)]
    if kind != "RollingUpdate":
        return [validation.unsupported(at, strategy, _STRATEGIES)]
    if rolling is None:
        return [required(f"{at}.rollingUpdate", "this should be defaulted and never be nil")]
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    causes = share_of_all(f"{at}.rollingUpdate.maxUnavailable", unavailable)
    causes += share(f"{at}.rollingUpdate.maxSurge", surge)
    if not causes and share_value(unavailable) == 0 and share_value(surge) == 0:
        problem = "may not be 0 when `maxSurge` is 0"
        causes.append(invalid(f"{at}.rollingUpdate.maxUnavailable", unavailable, problem))
    return causes


class ReplicaSetStrategy(ReplicatedStrategy):
    """The rules of replica sets."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the replica set."""
        spec = section(obj, "spec")
        causes = non_negative("spec.replicas", spec.get("replicas") or 0)
        causes += non_negative("spec.minReadySeconds", spec.get("minReadySeconds") or 0)
        return causes + selector_and_template(spec, "deployment")

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the selector changes."""
        return frozen_selector(obj, old)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be."""
        _ = old
        parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        whole = ("replicas", *parts, "observedGeneration", "terminatingReplicas")
        return counts(obj, *whole) + counts_of_replicas(obj, *parts)


RESOURCES: Final = (
    Resource(
        group="apps",
        plural="deployments",
        singular="deployment",
        kind="Deployment",
        short_names=("deploy",),
        categories=("all",),
        strategy=DeploymentStrategy(),
        columns=(
            NAME,
            Column("Ready", ready, description="Number of ready pods, of those that are wanted."),
            count("Up-to-date", "status", "updatedReplicas", description="Number of pods of the current template."),
            count("Available", "status", "availableReplicas", description="Number of pods that serve."),
            AGE,
            *WORKLOAD_DETAILS,
        ),
        subresources={"status": Subresource("Deployment", "apps"), **SCALE},
        scale=ScalePaths(),
    ),
    Resource(
        group="apps",
        plural="replicasets",
        singular="replicaset",
        kind="ReplicaSet",
        short_names=("rs",),
        categories=("all",),
        strategy=ReplicaSetStrategy(),
        columns=(
            NAME,
            count("Desired", "spec", "replicas", description="Number of pods that are wanted."),
            count("Current", "status", "replicas", description="Number of pods that exist."),
            count("Ready", "status", "readyReplicas", description="Number of pods that are ready."),
            AGE,
            *WORKLOAD_DETAILS,
        ),
        subresources={"status": Subresource("ReplicaSet", "apps"), **SCALE},
        scale=ScalePaths(),
        fields={"status.replicas": field("status", "replicas", missing="0")},
    ),
)
