"""A deployment's replica sets as revisions: which one is the template's, what the next is called, which may go.

Facts (annotations, hash label, revision numbering) are k8s.io/kubernetes pkg/controller/deployment/util's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from orch.objects.apps import Deployment, ReplicaSet
from orch.objects.pods import PodTemplate
from orch.objects.scheme import DEPLOYMENTS, REPLICA_SETS
from orch_controllers.documents import controller_reference
from orch_controllers.template_identity import canonical, content, safe_hash

HASH_LABEL: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
REVISION_HISTORY: Final = "deployment.kubernetes.io/revision-history"
DESIRED: Final = "deployment.kubernetes.io/desired-replicas"
MAX: Final = "deployment.kubernetes.io/max-replicas"

_NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAX,
        "deprecated.deployment.rollback.to",
    }
)
_NO_LIMIT: Final = (1 << 31) - 1

_HISTORY_LENGTH: Final = 2000
"""Characters of revision history that are kept."""


def template_hash(template: PodTemplate, collisions: int) -> str:
    """Return the hash that names a template's replica set; `collisions` makes it another."""
    return safe_hash(canonical(template, without=HASH_LABEL), collisions)


def same_template(left: PodTemplate, right: PodTemplate) -> bool:
    """Return whether two templates make the same pods."""
    return _content(left) == _content(right)


def _content(template: PodTemplate) -> dict[str, Any]:
    return content(template, without=HASH_LABEL)


def new_and_old(deployment: Deployment, sets: Iterable[ReplicaSet]) -> tuple[ReplicaSet | None, list[ReplicaSet]]:
    """Return the replica set of the deployment's template, if there is one, and all others, oldest first."""
    ordered = sorted(sets, key=lambda each: (each.metadata.creation_timestamp, each.metadata.name))
    wanted = _content(deployment.spec.template)
    new = next((each for each in ordered if _content(each.spec.template) == wanted), None)
    return new, [each for each in ordered if each is not new]


def revision_of(replica_set: ReplicaSet) -> int:
    """Return a replica set's revision, 0 when it has none."""
    text = replica_set.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def next_revision(old: Iterable[ReplicaSet]) -> int:
    """Return the revision after all of the old ones."""
    return max((revision_of(each) for each in old), default=0) + 1


def annotations_for(deployment: Deployment, new: ReplicaSet | None, revision: int) -> dict[str, str]:
    """Return the annotations that the template's replica set shall carry: the deployment's, and its revision.

    When a rollback brings an earlier revision forward, its former number moves to the revision history.
    """
    annotations = dict(new.metadata.annotations) if new is not None else {}
    annotations |= {key: value for key, value in deployment.metadata.annotations.items() if key not in _NOT_COPIED}
    former = annotations.get(REVISION, "")
    if former and not former.isdecimal():
        return annotations
    if int(former or 0) < revision:
        annotations[REVISION] = str(revision)
        if former:
            annotations[REVISION_HISTORY] = _append(annotations.get(REVISION_HISTORY, ""), former)
    return annotations


def _append(history: str, revision: str) -> str:
    """Return the history with a revision at its end; what is oldest goes when it grows too long."""
    revisions = [*(history.split(",") if history else []), revision]
    while len(",".join(revisions)) > _HISTORY_LENGTH and len(revisions) > 1:
        del revisions[0]
    return ",".join(revisions)


def replica_set_for(
    deployment: Deployment, hash_: str, replicas: int, annotations: Mapping[str, str]
) -> dict[str, Any]:
    """Return the body of the template's replica set."""
    template = deployment.spec.template
    labels = {**template.metadata.labels, HASH_LABEL: hash_}
    selector = msgspec.to_builtins(deployment.spec.selector)
    selector["matchLabels"] = {**deployment.spec.selector.match_labels, HASH_LABEL: hash_}
    template_meta = msgspec.to_builtins(template.metadata)
    template_meta["labels"] = labels
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.name,
        "metadata": {
            "name": f"{deployment.metadata.name}-{hash_}",
            "namespace": deployment.metadata.namespace,
            "labels": labels,
            "annotations": dict(annotations),
            "ownerReferences": [controller_reference(DEPLOYMENTS, deployment.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": selector,
            "template": {"metadata": template_meta, "spec": template.spec},
        },
    }


def superfluous(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Return the old replica sets beyond the history limit that hold no pods, lowest revision first."""
    limit = deployment.spec.revision_history_limit
    if limit is None or limit == _NO_LIMIT:
        return []
    alive = [each for each in old if not each.metadata.deletion_timestamp]
    excess = len(alive) - limit
    ordered = sorted(alive, key=lambda each: (revision_of(each), each.metadata.creation_timestamp))
    return [each for each in ordered[: max(excess, 0)] if _is_empty(each)]


def _is_empty(replica_set: ReplicaSet) -> bool:
    meta, spec, status = replica_set.metadata, replica_set.spec, replica_set.status
    return status.replicas == 0 and spec.replicas == 0 and meta.generation <= status.observed_generation
