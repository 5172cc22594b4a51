"""StatefulSets (k8s.io/kubernetes/pkg/registry/apps/statefulset)."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, container_columns
from orch_api.kinds.pod_templates import selector_and_template
from orch_api.kinds.volume_claims import claim_spec, default_claim_spec
from orch_api.kinds.workload_rules import (
    SCALE,
    ReplicatedStrategy,
    collisions,
    counts,
    counts_of_replicas,
    ready,
    share,
    share_of_all,
    share_value,
)
from orch_api.resource import Column, Resource, ScalePaths, Subresource
from orch_api.strategy import Document, keep, put_section, section
from orch_api.validation import Problems, check, forbidden, invalid, non_negative, required, same, unsupported

_ORDERS: Final = ("OrderedReady", "Parallel")
_RETENTIONS: Final = ("Retain", "Delete")
_CHANGEABLE: Final = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_FROZEN: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class StatefulSetStrategy(ReplicatedStrategy):
    """The rules of stateful sets."""

    def name_problems(self, name: str) -> Problems:
        """Refuse what is not a label: pods' hosts are called after the set."""
        return validation.dns_label(name)

    def default(self, obj: Document) -> None:
        """Start pods one after the other, replace them one at a time, keep their claims and ten revisions."""
        super().default(obj)
        spec: Document = obj["spec"]
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        strategy = put_section(spec, "updateStrategy")
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = put_section(strategy, "rollingUpdate")
            for name, value in (("partition", 0), ("maxUnavailable", 1)):
                if rolling.get(name) is None:
                    rolling[name] = value
        retention = put_section(spec, "persistentVolumeClaimRetentionPolicy")
        for name in ("whenDeleted", "whenScaled"):
            if not retention.get(name):
                retention[name] = "Retain"
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        for claim in spec.get("volumeClaimTemplates") or ():
            claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
            default_claim_spec(put_section(claim, "spec"))
            status = put_section(claim, "status")
            if not status.get("phase"):
                status["phase"] = "Pending"

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the stateful set."""
        spec = section(obj, "spec")
        causes: list[Cause] = []
        order: str = spec.get("podManagementPolicy") or ""
        if order not in _ORDERS:
            causes.append(invalid("spec.podManagementPolicy", order, "must be 'OrderedReady' or 'Parallel'"))
        causes += _update_strategy(section(spec, "updateStrategy"))
        retention = section(spec, "persistentVolumeClaimRetentionPolicy")
        for name in ("whenDeleted", "whenScaled"):
            if retention.get(name) not in _RETENTIONS:
                at = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
                causes.append(unsupported(at, retention.get(name) or "", _RETENTIONS))
        for name in ("replicas", "minReadySeconds"):
            causes += non_negative(f"spec.{name}", spec.get(name) or 0)
        causes += non_negative("spec.ordinals.start", section(spec, "ordinals").get("start") or 0)
        if service := spec.get("serviceName"):
            causes += check("spec.serviceName", service, validation.dns_label)
        claims: list[Document] = spec.get("volumeClaimTemplates") or []
        for index, claim in enumerate(claims):
            causes += claim_spec(f"spec.volumeClaimTemplates[{index}].spec", section(claim, "spec"))
        names = [name for claim in claims if (name := section(claim, "metadata").get("name"))]
        return causes + selector_and_template(spec, "statefulset", pods_of="StatefulSet", claims=names)

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when anything else changes than the fields that may."""
        held = dict(section(obj, "spec"))
        before = section(old, "spec")
        keep(held, before, *_CHANGEABLE)
        return [] if same(held, before) else [forbidden("spec", _FROZEN)]

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which counts cannot be; the count of collisions never falls."""
        parts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        causes = counts(obj, "replicas", *parts, "observedGeneration", "collisionCount")
        causes += counts_of_replicas(obj, *parts, ready="status.readyReplicas")
        return causes + collisions(obj, old)

    def warnings(self, obj: Document) -> list[str]:
        """Point out as well that revisions are never cleared away."""
        found = super().warnings(obj)
        if (section(obj, "spec").get("revisionHistoryLimit") or 0) < 0:
            problem = "a negative value retains all historical revisions; a value >= 0 is recommended"
            found.append(f"spec.revisionHistoryLimit: {problem}")
        return found


def _update_strategy(strategy: Document) -> list[Cause]:
    at = "spec.updateStrategy"
    rolling: Document | None = strategy.get("rollingUpdate")
    kind: str = strategy.get("type") or ""
    if not kind:
        return [required(at)]
    if kind == "OnDelete":
        if rolling is None:
            return []
        return [invalid(f"{at}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")]
    if kind != "RollingUpdate":
        return [invalid(at, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    causes = non_negative(f"{at}.rollingUpdate.partition", rolling.get("partition") or 0)
    unavailable = rolling.get("maxUnavailable")
    if unavailable is not None:
        field = f"{at}.rollingUpdate.maxUnavailable"
        causes += share_of_all(field, unavailable)
        if not share(field, unavailable) and share_value(unavailable) == 0:
            causes.append(invalid(field, unavailable, "cannot be 0"))
    return causes


RESOURCES: Final = (
    Resource(
        group="apps",
        plural="statefulsets",
        singular="statefulset",
        kind="StatefulSet",
        short_names=("sts",),
        categories=("all",),
        strategy=StatefulSetStrategy(),
        columns=(
            NAME,
            Column("Ready", ready, description="Number of ready pods, of those that are wanted."),
            AGE,
            *container_columns("spec", "template"),
        ),
        subresources={"status": Subresource("StatefulSet", "apps"), **SCALE},
        scale=ScalePaths(),
    ),
)
