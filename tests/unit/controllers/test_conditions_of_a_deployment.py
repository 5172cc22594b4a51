from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from workloads import NOW, ago, deployment, replica_set

from orch.clock import rfc3339
from orch.objects.apps import DeploymentStatus
from orch.objects.meta import Condition
from orch_controllers.deployment import conditions
from orch_controllers.deployment.conditions import PROGRESSING


def progressing(reason: str, seconds_ago: float = 10, status: str = "True") -> Condition:
    moment = ago(seconds_ago)
    return Condition(
        type=PROGRESSING, status=status, reason=reason, last_update_time=moment, last_transition_time=moment
    )


def status(replicas: int = 0, updated: int = 0, ready: int = 0, available: int = 0, **more: object) -> DeploymentStatus:
    made = DeploymentStatus(
        observed_generation=1,
        replicas=replicas,
        updated_replicas=updated,
        ready_replicas=ready,
        available_replicas=available,
    )
    return msgspec.structs.replace(made, **more)


def test_counts_are_sums_over_the_sets() -> None:
    new, old = replica_set("new", 3, there=2, available=1), replica_set("old", 1, there=2, available=2)
    counted = conditions.counts(deployment(3, generation=7), new, [old, new])
    assert counted.observed_generation == 7
    assert (counted.replicas, counted.updated_replicas) == (4, 2)
    assert (counted.ready_replicas, counted.available_replicas, counted.unavailable_replicas) == (3, 3, 1)


def test_more_available_pods_than_wanted_are_not_a_negative_number() -> None:
    counted = conditions.counts(deployment(1), None, [replica_set("old", 1, there=3, available=3)])
    assert counted.unavailable_replicas == 0


@pytest.mark.parametrize(
    ("available", "unavailable", "expected"), [(3, 0, "True"), (2, 0, "False"), (2, 1, "True"), (1, 1, "False")]
)
def test_available_is_what_the_bounds_ask_for(available: int, unavailable: int, expected: str) -> None:
    asked = deployment(3, surge=1, unavailable=unavailable)
    found = conditions.availability(asked, status(available=available), NOW)
    assert found.status == expected
    words = {
        "True": ("MinimumReplicasAvailable", "Deployment has minimum availability."),
        "False": ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    }
    assert (found.reason, found.message) == words[expected]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (status(3, 3, 3, 3), True),
        (status(4, 3, 3, 3), False),
        (status(3, 2, 3, 3), False),
        (status(3, 3, 3, 2), False),
        (status(3, 3, 3, 3, observed_generation=0), False),
    ],
)
def test_complete_is_new_whole_available_and_observed(found: DeploymentStatus, *, expected: bool) -> None:
    assert conditions.is_complete(deployment(3), found) is expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (status(3, 1, 3, 3), status(3, 1, 3, 3), False),
        (status(3, 1, 3, 3), status(4, 2, 3, 3), True),
        (status(3, 1, 3, 3), status(2, 1, 2, 2), True),
        (status(3, 1, 2, 2), status(3, 1, 3, 2), True),
        (status(3, 1, 3, 2), status(3, 1, 3, 3), True),
        (status(3, 1, 3, 3), status(4, 1, 3, 3), False),
        (status(3, 1, 3, 3), status(3, 1, 2, 2), False),
    ],
)
def test_progress_is_more_of_the_new_or_less_of_the_old(
    old: DeploymentStatus, new: DeploymentStatus, *, expected: bool
) -> None:
    assert conditions.has_progressed(old, new) is expected


@pytest.mark.parametrize(
    ("before", "now", "reason", "message"),
    [
        (progressing("NewReplicaSetCreated"), status(3, 3, 3, 3), "NewReplicaSetAvailable", "has successfully"),
        (progressing("NewReplicaSetCreated"), status(3, 1, 0, 0), "ReplicaSetUpdated", "is progressing."),
        (progressing("ReplicaSetUpdated", 700), status(), "ProgressDeadlineExceeded", "has timed out progressing."),
        (progressing("ReplicaSetUpdated", 500), status(), "ReplicaSetUpdated", ""),
        (progressing("NewReplicaSetAvailable", 9000), status(3, 0, 0, 0), "NewReplicaSetAvailable", ""),
        (progressing("NewReplicaSetAvailable", 9000), status(2, 2, 2, 2), "NewReplicaSetAvailable", ""),
        (progressing("ProgressDeadlineExceeded", 9000), status(), "ProgressDeadlineExceeded", ""),
        (progressing("DeploymentResumed", 700), status(), "ProgressDeadlineExceeded", "timed out"),
        (progressing("ReplicaSetCreateError", 700, "False"), status(), "ProgressDeadlineExceeded", "timed out"),
    ],
)
def test_progressing_says_how_the_rollout_stands(
    before: Condition, now: DeploymentStatus, reason: str, message: str
) -> None:
    asked = deployment(3, progressDeadlineSeconds=600)
    now = msgspec.structs.replace(now, conditions=(before,))
    (found,) = conditions.progress(asked, now, replica_set("web-new"), NOW)
    assert found.reason == reason
    assert message in found.message
    assert not message or found.message.startswith('ReplicaSet "web-new" ')


def test_without_a_deadline_nothing_is_said_of_progress() -> None:
    for seconds in (None, 2**31 - 1):
        asked = deployment(3, progressDeadlineSeconds=seconds)
        now = status(conditions=(progressing("ReplicaSetUpdated"),))
        assert conditions.progress(asked, now, None, NOW) == ()
        assert conditions.seconds_left(asked, now, NOW) is None


def test_each_progress_starts_the_deadline_anew_but_is_no_transition() -> None:
    before = progressing("ReplicaSetUpdated", 100)
    asked = deployment(3, progressDeadlineSeconds=600, status=status(3, 0, 3, 3))
    now = status(4, 1, 3, 3, conditions=(before,))
    (found,) = conditions.progress(asked, now, replica_set(), NOW)
    assert found.last_update_time == rfc3339(NOW)
    assert found.last_transition_time == before.last_transition_time


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (progressing("ReplicaSetUpdated", 10), 590),
        (progressing("ReplicaSetUpdated", 700), -100),
        (progressing("NewReplicaSetAvailable", 10), None),
        (progressing("DeploymentPaused", 10, "Unknown"), None),
        (progressing("DeploymentResumed", 10, "Unknown"), 590),
        (progressing("ProgressDeadlineExceeded", 10, "False"), None),
    ],
)
def test_seconds_left_until_a_rollout_counts_as_stuck(before: Condition, expected: float | None) -> None:
    asked = deployment(3, progressDeadlineSeconds=600)
    assert conditions.seconds_left(asked, status(conditions=(before,)), NOW) == expected


def test_a_condition_changes_with_its_status_or_reason_only() -> None:
    first = conditions.condition("Available", "True", "A", "one", NOW)
    later = NOW + timedelta(seconds=60)
    same = conditions.condition("Available", "True", "A", "another", later)
    assert conditions.put((first,), same) == (first,)
    other_reason = conditions.condition("Available", "True", "B", "one", later)
    (put,) = conditions.put((first,), other_reason)
    assert (put.reason, put.last_transition_time) == ("B", rfc3339(NOW))
    other_status = conditions.condition("Available", "False", "B", "one", later)
    (put,) = conditions.put((first,), other_status)
    assert put.last_transition_time == rfc3339(later)


def test_the_new_sets_failure_is_told_before_the_old_ones() -> None:
    failing = Condition(type="ReplicaFailure", status="True", reason="FailedCreate", last_transition_time=ago(5))
    old = replica_set("old", conditions=(msgspec.structs.replace(failing, message="old"),))
    new = replica_set("new", conditions=(msgspec.structs.replace(failing, message="new"),))
    found = conditions.failure(new, [old, new])
    assert found is not None
    assert (found.message, found.last_update_time) == ("new", ago(5))
    assert conditions.failure(None, [old]) is not None
    assert conditions.failure(replica_set("new"), [replica_set("old")]) is None


def test_a_status_is_written_without_zeroes_but_with_unknowns() -> None:
    unknown = Condition(type="Progressing", status="Unknown", reason="DeploymentPaused")
    patch = conditions.as_patch(DeploymentStatus(conditions=(unknown,)))
    assert patch["replicas"] is None
    assert patch["conditions"] == [{"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}]
