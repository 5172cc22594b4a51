"""A deployment's status: counts and the conditions Available, Progressing and ReplicaFailure. Pure.

Reasons and messages are k8s.io/kubernetes pkg/controller/deployment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch.clock import parse_rfc3339, rfc3339
from orch.objects.apps import Deployment, DeploymentStatus, ReplicaSet
from orch.objects.meta import Condition
from orch_controllers.deployment.scaling import bounds, desired, size
from orch_controllers.documents import condition_document, without_zeroes

AVAILABLE: Final = "Available"
PROGRESSING: Final = "Progressing"
REPLICA_FAILURE: Final = "ReplicaFailure"

DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"
PAUSED: Final = "DeploymentPaused"
RESUMED: Final = "DeploymentResumed"
_COMPLETE: Final = "NewReplicaSetAvailable"
_NOT_TIMED: Final = frozenset({_COMPLETE, PAUSED, DEADLINE_EXCEEDED})
_NO_DEADLINE: Final = (1 << 31) - 1


def condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Condition:
    """Return a condition that changed now."""
    moment = rfc3339(now)
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_update_time=moment, last_transition_time=moment
    )


def put(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """Return the conditions with `new` in its type's place; none changes while status and reason stay the same."""
    old = find(conditions, new.type)
    if old is not None and old.status == new.status and old.reason == new.reason:
        return tuple(conditions)
    if old is not None and old.status == new.status:
        new = msgspec.structs.replace(new, last_transition_time=old.last_transition_time)
    return (*(each for each in conditions if each.type != new.type), new)


def find(conditions: Sequence[Condition], kind: str) -> Condition | None:
    """Return the condition of a type."""
    return next((each for each in conditions if each.type == kind), None)


def drop(conditions: Sequence[Condition], kind: str) -> tuple[Condition, ...]:
    """Return the conditions without a type."""
    return tuple(each for each in conditions if each.type != kind)


def counts(deployment: Deployment, new: ReplicaSet | None, all_sets: Sequence[ReplicaSet]) -> DeploymentStatus:
    """Return the status's numbers, with the conditions as they were."""
    total = sum(size(each) for each in all_sets)
    available = sum(each.status.available_replicas for each in all_sets)
    return msgspec.structs.replace(
        deployment.status,
        observed_generation=deployment.metadata.generation,
        replicas=sum(each.status.replicas for each in all_sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(each.status.ready_replicas for each in all_sets),
        available_replicas=available,
        unavailable_replicas=max(total - available, 0),
        terminating_replicas=sum(each.status.terminating_replicas or 0 for each in all_sets),
    )


def with_numbers(status: DeploymentStatus, counted: DeploymentStatus) -> DeploymentStatus:
    """Return the status with the numbers of `counted`, and its own conditions and collisions."""
    return msgspec.structs.replace(counted, conditions=status.conditions, collision_count=status.collision_count)


def availability(deployment: Deployment, status: DeploymentStatus, now: datetime) -> Condition:
    """Return the Available condition."""
    if status.available_replicas >= desired(deployment) - bounds(deployment).unavailable:
        return condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    message = "Deployment does not have minimum availability."
    return condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Return whether the rollout is done: all pods are of the template and available, and no old one is left."""
    wanted = desired(deployment)
    return (
        status.updated_replicas == wanted
        and status.replicas == wanted
        and status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def has_progressed(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    """Return whether more pods are of the template, ready or available than before, or fewer old ones are left."""
    return (
        new.updated_replicas > old.updated_replicas
        or new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        or new.ready_replicas > old.ready_replicas
        or new.available_replicas > old.available_replicas
    )


def merely_keeps_up(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Return whether a status differs from the deployment's own in nothing but numbers of a rollout under way."""
    old = deployment.status
    return (
        old.observed_generation == status.observed_generation
        and old.collision_count == status.collision_count
        and {(each.type, each.status) for each in old.conditions}
        == {(each.type, each.status) for each in status.conditions}
        and not is_complete(deployment, status)
    )


def deadline(deployment: Deployment) -> int | None:
    """Return the seconds within which a rollout must get on, None for no limit."""
    seconds = deployment.spec.progress_deadline_seconds
    return None if seconds is None or seconds == _NO_DEADLINE else seconds


def seconds_left(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Return the seconds until the rollout counts as stuck, None when it is not being watched for that."""
    limit = deadline(deployment)
    progressing = find(status.conditions, PROGRESSING)
    if limit is None or progressing is None or progressing.reason in _NOT_TIMED:
        return None
    return limit - (now - parse_rfc3339(progressing.last_update_time)).total_seconds()


def progress(
    deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions with Progressing as the rollout stands."""
    conditions = status.conditions
    if deadline(deployment) is None:
        return drop(conditions, PROGRESSING)
    name = new.metadata.name if new is not None else ""
    current = find(conditions, PROGRESSING)
    settled = status.replicas == status.updated_replicas and current is not None and current.reason == _COMPLETE
    if settled:
        return conditions
    subject = f'ReplicaSet "{name}"' if name else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return put(conditions, condition(PROGRESSING, "True", _COMPLETE, message, now))
    if has_progressed(deployment.status, status):
        fresh = condition(PROGRESSING, "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current.status == "True":
            fresh = msgspec.structs.replace(fresh, last_transition_time=current.last_transition_time)
        return (*drop(conditions, PROGRESSING), fresh)
    left = seconds_left(deployment, status, now)
    if left is not None and left <= 0:
        message = f"{subject} has timed out progressing."
        return put(conditions, condition(PROGRESSING, "False", DEADLINE_EXCEEDED, message, now))
    return conditions


def failure(new: ReplicaSet | None, all_sets: Sequence[ReplicaSet]) -> Condition | None:
    """Return the ReplicaFailure condition that the replica sets call for: the new one's before any other's."""
    for each in (*([new] if new is not None else []), *all_sets):
        found = find(each.status.conditions, REPLICA_FAILURE)
        if found is not None:
            return msgspec.structs.replace(found, last_update_time=found.last_transition_time)
    return None


def as_patch(status: DeploymentStatus) -> dict[str, Any]:
    """Return the status as a merge patch."""
    counts = {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "updatedReplicas": status.updated_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "unavailableReplicas": status.unavailable_replicas,
    }
    return {
        **without_zeroes(counts),
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": [condition_document(each) for each in status.conditions],
    }
