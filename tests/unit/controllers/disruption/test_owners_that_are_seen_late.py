"""Pods whose owner is seen after them are counted as soon as it is."""

from __future__ import annotations

from typing import Any

from registry_world import ClusterWorld, Team, topic

from orch.objects.scheme import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from orch_controllers.config import ControllersConfig

KINDS: list[Any] = [PODS, REPLICA_SETS, DISRUPTION_BUDGETS, DEPLOYMENTS, STATEFUL_SETS, REPLICATION_CONTROLLERS]


def test_a_budget_whose_pods_come_before_their_owner_is_counted_when_that_comes() -> None:
    world = ClusterWorld()
    team = Team(world, KINDS, (topic("disruption"),), ControllersConfig())
    selector = {"matchLabels": {"app": "web"}}
    budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": selector}, "status": {}}
    world.create(DISRUPTION_BUDGETS, "default", budget)
    owner = world.create(REPLICA_SETS, "default", {"metadata": {"name": "web"}, "spec": {"replicas": 1}, "status": {}})
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": True}
    meta = {
        "name": "web-1",
        "labels": {"app": "web"},
        "ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}],
    }
    pod = world.create(PODS, "default", {"metadata": meta, "spec": {"nodeName": "node-1"}})
    world.report(pod, "Running", ready=True)

    def status() -> dict[str, Any]:
        found = world.find(DISRUPTION_BUDGETS, "web")
        assert found is not None
        return found["status"]

    for _ in range(4):
        for kind in (PODS, DISRUPTION_BUDGETS):
            team.process.deliver(kind, 100)
            team.process.mark(kind)
        team.reconcile()
    assert status()["conditions"][0]["reason"] == "SyncFailed"
    team.settle()
    team.close()
    assert (status()["expectedPods"], status()["disruptionsAllowed"]) == (1, 1)
