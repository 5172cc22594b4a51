"""Whose a claim is: with its owner it goes. The set's, its pod's, or nobody's, as the retention policy says. Pure.

Rules are k8s.io/kubernetes pkg/controller/statefulset's (stateful_set_utils.go, KEP-1847): a claim whose set is to take
it along when deleted is owned by the set; one that is to go when the set shrinks is owned by its pod once that is not
wanted any more. Claims that anybody else controls are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from orch.objects.apps import StatefulSet
from orch.objects.meta import ObjectMeta, OwnerReference
from orch.objects.scheme import PODS, STATEFUL_SETS, Kind
from orch_controllers.statefulset.identity import in_range, parse

DELETE: Final = "Delete"


def owners_of_claim(
    owner: StatefulSet, pod: ObjectMeta, refs: Sequence[OwnerReference]
) -> tuple[OwnerReference, ...] | None:
    """Return the owner references that a pod's claim shall have; None when it has them."""
    ours = [ref for ref in refs if _names(ref, STATEFUL_SETS, owner.metadata) or _names(ref, PODS, pod)]
    others = tuple(ref for ref in refs if ref not in ours)
    if any(ref.controller for ref in others):
        return others if ours else None
    wanted = _wanted(owner, pod)
    if len(ours) == len(wanted) and all(_same(one, other) for one, other in zip(ours, wanted, strict=True)):
        return None
    return (*others, *wanted)


def _wanted(owner: StatefulSet, pod: ObjectMeta) -> tuple[OwnerReference, ...]:
    policy = owner.spec.persistent_volume_claim_retention_policy
    wanted_pod = in_range(owner, parse(pod.name)[1])
    if policy.when_scaled == DELETE and not wanted_pod:
        return (_reference(PODS, pod),)
    if policy.when_deleted == DELETE:
        return (_reference(STATEFUL_SETS, owner.metadata),)
    return ()


def is_stale(pod_name: str, refs: Sequence[OwnerReference]) -> bool:
    """Return whether a claim is owned by a former pod of that name, with which it is about to go."""
    return any(ref.kind == PODS.name and ref.api_version == "v1" and ref.name == pod_name for ref in refs)


def goes_when_scaled(owner: StatefulSet) -> bool:
    """Return whether claims go with pods that are not wanted any more."""
    return owner.spec.persistent_volume_claim_retention_policy.when_scaled == DELETE


def owners_at_creation(owner: StatefulSet) -> list[dict[str, Any]]:
    """Return the owner references with which a wanted pod's claim is made."""
    if owner.spec.persistent_volume_claim_retention_policy.when_deleted != DELETE:
        return []
    return [as_document(_reference(STATEFUL_SETS, owner.metadata))]


def as_document(ref: OwnerReference) -> dict[str, Any]:
    """Return an owner reference as it is written."""
    document: dict[str, Any] = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "name": ref.name,
        "uid": ref.uid,
    }
    if ref.controller:
        document["controller"] = True
    if ref.block_owner_deletion:
        document["blockOwnerDeletion"] = True
    return document


def _names(ref: OwnerReference, kind: Kind[Any], meta: ObjectMeta) -> bool:
    """Return whether a reference is to that object or to a former one of its name."""
    return ref.kind == kind.name and ref.api_version == kind.api_version and ref.name == meta.name


def _same(one: OwnerReference, other: OwnerReference) -> bool:
    return one.uid == other.uid and one.kind == other.kind and one.controller


def _reference(kind: Kind[Any], meta: ObjectMeta) -> OwnerReference:
    return OwnerReference(
        api_version=kind.api_version,
        kind=kind.name,
        name=meta.name,
        uid=meta.uid,
        controller=True,
        block_owner_deletion=True,
    )
