"""Who the pods of a stateful set are: their numbers, names, hosts and claims. Pure.

Facts are k8s.io/kubernetes pkg/controller/statefulset's (stateful_set_utils.go).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from orch.objects.apps import ClaimTemplate, StatefulSet
from orch.objects.pods import Pod, PodTemplate
from orch.objects.scheme import STATEFUL_SETS
from orch_controllers.pod_templates import pod_of

POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
POD_INDEX: Final = "apps.kubernetes.io/pod-index"
REVISION: Final = "controller-revision-hash"
"""The label of a pod that names the revision which it was made of."""

_NAME: Final = re.compile(r"(.*)-([0-9]+)", re.DOTALL)
_MOST: Final = 2**31 - 1


@lru_cache(maxsize=16384)
def parse(name: str) -> tuple[str, int]:
    """Return which set a pod would be of by its name, and its number; ("", -1) when the name has none."""
    found = _NAME.fullmatch(name)
    if found is None or int(found[2]) > _MOST:
        return "", -1
    return found[1], int(found[2])


def is_member(owner: str, name: str) -> bool:
    """Return whether a pod of that name can be one of the set `owner`."""
    return parse(name)[0] == owner


def desired(owner: StatefulSet) -> int:
    """Return how many pods the set wants."""
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def in_range(owner: StatefulSet, ordinal: int) -> bool:
    """Return whether the set wants a pod of that number."""
    start = owner.spec.ordinals.start
    return start <= ordinal < start + desired(owner)


def pod_name(owner: StatefulSet, ordinal: int) -> str:
    """Return the name of the set's pod of that number."""
    return f"{owner.metadata.name}-{ordinal}"


def claim_name(owner: StatefulSet, template: ClaimTemplate, ordinal: int) -> str:
    """Return the name of a pod's claim."""
    return f"{template.metadata.name}-{owner.metadata.name}-{ordinal}"


def identity(owner: StatefulSet, ordinal: int) -> dict[str, str]:
    """Return the labels that say which of the set's pods a pod is."""
    return {POD_NAME: pod_name(owner, ordinal), POD_INDEX: str(ordinal)}


def has_identity(pod: Pod) -> bool:
    """Return whether a pod is labelled with its own name, as those that were adopted may not be."""
    return pod.metadata.labels.get(POD_NAME) == pod.metadata.name


def has_storage(owner: StatefulSet, pod: Pod, ordinal: int) -> bool:
    """Return whether a pod uses the claims that are its own."""
    if not owner.spec.volume_claim_templates:
        return True
    sources = {volume.name: volume.persistent_volume_claim for volume in pod.spec.volumes}
    for template in owner.spec.volume_claim_templates:
        source = sources.get(template.metadata.name)
        if source is None or source.claim_name != claim_name(owner, template, ordinal):
            return False
    return True


def pod_body(owner: StatefulSet, template: PodTemplate, revision: str, ordinal: int) -> dict[str, Any]:
    """Return the body of the set's pod of that number, made of a revision's template."""
    name = pod_name(owner, ordinal)
    body = pod_of(STATEFUL_SETS, owner.metadata, template, name)
    body["metadata"]["labels"] = {**template.metadata.labels, **identity(owner, ordinal), REVISION: revision}
    spec: dict[str, Any] = msgspec.json.decode(template.spec)
    spec["hostname"], spec["subdomain"] = name, owner.spec.service_name
    if owner.spec.volume_claim_templates:
        spec["volumes"] = _volumes(owner, spec.get("volumes") or [], ordinal)
    return {**body, "spec": spec}


def _volumes(owner: StatefulSet, own: list[dict[str, Any]], ordinal: int) -> list[dict[str, Any]]:
    """Return the pod's volumes: its claims take the place of volumes of their name."""
    claimed = {
        each.metadata.name: {"claimName": claim_name(owner, each, ordinal)}
        for each in owner.spec.volume_claim_templates
    }
    claims = [{"name": name, "persistentVolumeClaim": source} for name, source in claimed.items()]
    return [*claims, *(volume for volume in own if volume.get("name") not in claimed)]


def claim_body(owner: StatefulSet, template: ClaimTemplate, ordinal: int) -> dict[str, Any]:
    """Return the body of one claim of the set's pod of that number."""
    meta = template.metadata
    metadata: dict[str, Any] = {
        "name": claim_name(owner, template, ordinal),
        "namespace": owner.metadata.namespace,
        "labels": {**meta.labels, **owner.spec.selector.match_labels},
    }
    if meta.annotations:
        metadata["annotations"] = meta.annotations
    if meta.finalizers:
        metadata["finalizers"] = list(meta.finalizers)
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template.spec}
