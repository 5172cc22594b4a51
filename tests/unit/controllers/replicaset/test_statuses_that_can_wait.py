from __future__ import annotations

import msgspec
import pytest
from workloads import deployment

from orch.objects.apps import DeploymentStatus, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus
from orch.objects.meta import Condition
from orch_controllers.deployment import conditions
from orch_controllers.replicaset.status import merely_keeps_up

FAILED = Condition(type="ReplicaFailure", status="True", reason="FailedCreate")


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"ready_replicas": 2, "available_replicas": 2}, True),
        ({"ready_replicas": 2}, True),
        ({"ready_replicas": 3, "available_replicas": 3}, False),  # all that are wanted
        ({"available_replicas": 0}, False),  # fewer serve than before
        ({"replicas": 2, "available_replicas": 2}, False),
        ({"observed_generation": 2, "available_replicas": 2}, False),
        ({"conditions": (FAILED,), "available_replicas": 2}, False),
    ],
)
def test_of_a_replica_set_only_that_more_pods_serve_can_wait(changes: dict[str, object], *, waits: bool) -> None:
    before = ReplicaSetStatus(observed_generation=1, replicas=3, ready_replicas=1, available_replicas=1)
    owner = msgspec.structs.replace(ReplicaSet(), spec=ReplicaSetSpec(replicas=3), status=before)
    assert merely_keeps_up(owner, msgspec.structs.replace(before, **changes)) is waits


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"replicas": 3, "updated_replicas": 3, "unavailable_replicas": 3}, True),
        ({"replicas": 3, "updated_replicas": 3, "available_replicas": 3}, False),  # complete
        ({"replicas": 3, "observed_generation": 2}, False),
        ({"replicas": 3, "collision_count": 1}, False),
        ({"replicas": 3, "conditions": (Condition(type="Available", status="True"),)}, False),
    ],
)
def test_of_a_deployment_only_numbers_of_a_rollout_under_way_can_wait(
    changes: dict[str, object], *, waits: bool
) -> None:
    before = DeploymentStatus(observed_generation=1, conditions=(Condition(type="Available", status="False"),))
    asked = msgspec.structs.replace(deployment(3), status=before)
    assert conditions.merely_keeps_up(asked, msgspec.structs.replace(before, **changes)) is waits
