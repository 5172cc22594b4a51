"""A stateful set's status (k8s.io/kubernetes pkg/controller/statefulset). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from orch.objects.apps import StatefulSet, StatefulSetStatus
from orch.objects.pods import Pod
from orch_controllers.documents import condition_document, without_zeroes
from orch_controllers.pod_state import available_in, is_ready
from orch_controllers.statefulset.identity import REVISION, desired


class Progress(msgspec.Struct):
    """What a step has done so far, which the informer does not show yet."""

    created: list[Pod] = msgspec.field(default_factory=list[Pod])
    removed: set[str] = msgspec.field(default_factory=set[str])


def status_of(
    owner: StatefulSet,
    pods: Sequence[Pod],
    progress: Progress,
    current: str,
    update: str,
    collisions: int,
    now: datetime,
) -> StatefulSetStatus:
    """Return the status, the step that was just taken included. `current` and `update` name revisions."""
    known = {pod.metadata.uid for pod in pods}
    everything = [*pods, *(pod for pod in progress.created if pod.metadata.uid not in known)]
    staying = [
        pod for pod in everything if not pod.metadata.deletion_timestamp and pod.metadata.uid not in progress.removed
    ]
    ready = [pod for pod in everything if pod.status.phase == "Running" and is_ready(pod)]
    status = StatefulSetStatus(
        observed_generation=owner.metadata.generation,
        replicas=len(everything),
        ready_replicas=len(ready),
        available_replicas=sum(available_in(pod, owner.spec.min_ready_seconds, now) == 0 for pod in ready),
        current_replicas=_of(staying, current),
        updated_replicas=_of(staying, update),
        current_revision=current,
        update_revision=update,
        collision_count=collisions,
        conditions=owner.status.conditions,
    )
    return _completed(owner, status)


def _of(pods: Iterable[Pod], revision: str) -> int:
    return sum(pod.metadata.labels.get(REVISION) == revision for pod in pods)


def _completed(owner: StatefulSet, status: StatefulSetStatus) -> StatefulSetStatus:
    """Return the status; once all pods are of the update and serve, that is the current revision."""
    wanted = desired(owner)
    rolling = owner.spec.update_strategy.type == "RollingUpdate"
    if not rolling or not status.updated_replicas == status.ready_replicas == status.replicas == wanted:
        return status
    return msgspec.structs.replace(
        status, current_replicas=status.updated_replicas, current_revision=status.update_revision
    )


def as_patch(status: StatefulSetStatus) -> dict[str, Any]:
    """Return the status as a merge patch."""
    counts = {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "currentReplicas": status.current_replicas,
        "updatedReplicas": status.updated_replicas,
        "currentRevision": status.current_revision,
        "updateRevision": status.update_revision,
    }
    return {
        **without_zeroes(counts, "replicas", "availableReplicas"),
        "collisionCount": status.collision_count,
        "conditions": [condition_document(each) for each in status.conditions],
    }
