"""A replica set's status (k8s.io/kubernetes pkg/controller/replicaset calculateStatus). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch.clock import rfc3339
from orch.objects.apps import ReplicaSet, ReplicaSetStatus
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch_controllers.documents import condition_document, without_zeroes
from orch_controllers.pod_state import available_in, is_ready

REPLICA_FAILURE: Final = "ReplicaFailure"


class Outcome(msgspec.Struct, frozen=True):
    """What scaling came to: pods that were created, and why it failed, if it did."""

    created: int = 0
    failure: Exception | None = None
    reason: str = ""


def status_of(
    owner: ReplicaSet, active: Sequence[Pod], terminating: int, outcome: Outcome, now: datetime
) -> ReplicaSetStatus:
    """Return the status. Pods that were just created count as replicas, though the informer does not know them yet.

    So the number is never smaller than that of the pods that exist, on which a rollout relies.
    """
    labels = owner.spec.template.metadata.labels.items()
    return ReplicaSetStatus(
        replicas=len(active) + outcome.created,
        fully_labeled_replicas=sum(labels <= pod.metadata.labels.items() for pod in active),
        ready_replicas=sum(is_ready(pod) for pod in active),
        available_replicas=sum(available_in(pod, owner.spec.min_ready_seconds, now) == 0 for pod in active),
        terminating_replicas=terminating,
        observed_generation=owner.metadata.generation,
        conditions=_conditions(owner.status.conditions, outcome, now),
    )


def merely_keeps_up(owner: ReplicaSet, status: ReplicaSetStatus) -> bool:
    """Return whether a status differs from the replica set's own only in how many pods serve, with more to come."""
    before, wanted = owner.status, owner.spec.replicas
    return (
        before.observed_generation == status.observed_generation
        and before.replicas == status.replicas
        and before.conditions == status.conditions
        and before.available_replicas <= status.available_replicas
        and status.available_replicas < (1 if wanted is None else wanted)
    )


def _conditions(before: Sequence[Condition], outcome: Outcome, now: datetime) -> tuple[Condition, ...]:
    """Return the conditions with ReplicaFailure as it is now; it is there only while pods cannot be made or removed."""
    others = tuple(condition for condition in before if condition.type != REPLICA_FAILURE)
    if outcome.failure is None:
        return others
    if len(others) != len(before):
        return tuple(before)
    failure = Condition(
        type=REPLICA_FAILURE,
        status="True",
        reason=outcome.reason,
        message=str(outcome.failure),
        last_transition_time=rfc3339(now),
    )
    return (*others, failure)


def as_patch(status: ReplicaSetStatus) -> dict[str, Any]:
    """Return the status as a merge patch."""
    counts = {
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "observedGeneration": status.observed_generation,
    }
    patch: dict[str, Any] = {
        **without_zeroes(counts, "replicas"),
        "conditions": [condition_document(condition) for condition in status.conditions],
    }
    if status.terminating_replicas is not None:
        patch["terminatingReplicas"] = status.terminating_replicas
    return patch
