"""Deployments and ReplicaSets."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, WORKLOAD_DETAILS, number
from orch_api.kinds.fields import field
from orch_api.kinds.pod_templates import default_template, frozen_selector, selector_and_template
from orch_api.kinds.pods import pod_spec_warnings
from orch_api.resource import Column, Resource, ScalePaths, Subresource
from orch_api.strategy import Document, Strategy, keep, put_section, section
from orch_api.validation import forbidden, invalid, non_negative, required, same

_DEFAULT_SHARE: Final = "25%"
_STRATEGIES: Final = ("Recreate", "RollingUpdate")
_DEPLOYMENT_COUNTS: Final = (
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
)
_REPLICA_SET_COUNTS: Final = (
    "observedGeneration",
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
)
_NOT_COUNTED: Final = frozenset({"observedGeneration", "replicas", "unavailableReplicas"})


class _Workload(Strategy):
    """What deployments and replica sets have in common."""

    has_status = True
    has_generation = True

    def default(self, obj: Document) -> None:
        """Ask for one replica, and fill in the template."""
        spec = put_section(obj, "spec")
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        default_template(spec)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the selector changes."""
        return frozen_selector(obj, old)

    def warnings(self, obj: Document) -> list[str]:
        """Point out what is odd in the template."""
        return pod_spec_warnings("spec.template.spec", section(section(section(obj, "spec"), "template"), "spec"))


def _counts(obj: Document, names: tuple[str, ...]) -> list[Cause]:
    """Return which counts of a status are negative, or larger than the number of replicas."""
    status = section(obj, "status")
    replicas: int = status.get("replicas") or 0
    causes: list[Cause] = []
    for name in names:
        count: int = status.get(name) or 0
        causes += non_negative(f"status.{name}", count)
        if name not in _NOT_COUNTED and count > replicas:
            causes.append(invalid(f"status.{name}", count, "cannot be greater than status.replicas"))
    return causes


class DeploymentStrategy(_Workload):
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

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be; the count of collisions never falls."""
        causes = _counts(obj, _DEPLOYMENT_COUNTS)
        collisions: int | None = section(obj, "status").get("collisionCount")
        before: int | None = section(old, "status").get("collisionCount")
        if before is not None and (collisions is None or collisions < before):
            causes.append(invalid("status.collisionCount", collisions, "cannot be decremented"))
        return causes


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
    causes = _share(f"{at}.rollingUpdate.maxUnavailable", unavailable)
    causes += _share(f"{at}.rollingUpdate.maxSurge", surge)
    if not causes and _share_value(unavailable) == 0 and _share_value(surge) == 0:
        problem = "may not be 0 when `maxSurge` is 0"
        causes.append(invalid(f"{at}.rollingUpdate.maxUnavailable", unavailable, problem))
    if isinstance(unavailable, str) and not causes and _share_value(unavailable) > 100:
        causes.append(invalid(f"{at}.rollingUpdate.maxUnavailable", unavailable, "must not be greater than 100%"))
    return causes


def _share(at: str, share: int | str | None) -> list[Cause]:
    """Return what is wrong with a count or a percentage."""
    if isinstance(share, str):
        return validation.check(at, share, validation.percent)
    return non_negative(at, share or 0)


def _share_value(share: int | str | None) -> int:
    return int(share.removesuffix("%")) if isinstance(share, str) else share or 0


class ReplicaSetStrategy(_Workload):
    """The rules of replica sets."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the replica set."""
        spec = section(obj, "spec")
        causes = non_negative("spec.replicas", spec.get("replicas") or 0)
        causes += non_negative("spec.minReadySeconds", spec.get("minReadySeconds") or 0)
        return causes + selector_and_template(spec, "deployment")

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be."""
        _ = old
        return _counts(obj, _REPLICA_SET_COUNTS)


def _ready(obj: Document, now: datetime) -> Any:
    _ = now
    return f"{section(obj, 'status').get('readyReplicas') or 0}/{section(obj, 'spec').get('replicas') or 0}"


def _count(heading: str, *path: str, description: str) -> Column:
    return Column(heading, number(*path), type="integer", description=description)


_SUBRESOURCES: Final = {
    "scale": Subresource("Scale", "autoscaling", "v1"),
}

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
            Column("Ready", _ready, description="Number of ready pods, of those that are wanted."),
            _count("Up-to-date", "status", "updatedReplicas", description="Number of pods of the current template."),
            _count("Available", "status", "availableReplicas", description="Number of pods that serve."),
            AGE,
            *WORKLOAD_DETAILS,
        ),
        subresources={"status": Subresource("Deployment", "apps"), **_SUBRESOURCES},
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
            _count("Desired", "spec", "replicas", description="Number of pods that are wanted."),
            _count("Current", "status", "replicas", description="Number of pods that exist."),
            _count("Ready", "status", "readyReplicas", description="Number of pods that are ready."),
            AGE,
            *WORKLOAD_DETAILS,
        ),
        subresources={"status": Subresource("ReplicaSet", "apps"), **_SUBRESOURCES},
        scale=ScalePaths(),
        fields={"status.replicas": field("status", "replicas", missing="0")},
    ),
)
