"""Replication controllers do what replica sets do, under their own kind, with a plain map as selector."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from lagging_world import Document
from workload_world import Driver, PodWorld, controllers, leaving

from orch.objects.scheme import PODS, REPLICATION_CONTROLLERS
from orch.runtime.reconcile import Key
from orch_controllers.replicaset.reconciler import ReplicaSetReconciler
from orch_controllers.replication_controller.as_replica_set import FLAVOUR

LABELS = {"app": "old"}


@pytest.fixture
def driver() -> Iterator[Driver]:
    world = PodWorld()
    containers = [{"name": "main", "image": "old:1"}]
    spec = {
        "replicas": 2,
        "selector": LABELS,
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": containers}},
    }
    world.create(REPLICATION_CONTROLLERS, "default", {"metadata": {"name": "old"}, "spec": spec, "status": {}})
    kinds = [REPLICATION_CONTROLLERS, PODS]
    made = Driver(world, kinds, partial(ReplicaSetReconciler, flavour=FLAVOUR), Key("default", "old"))
    yield made
    made.close()


def settle(driver: Driver) -> Document:
    world = driver.world
    assert isinstance(world, PodWorld)
    for _ in range(10):
        driver.writes()
        for pod in world.pods():
            world.live(pod, "node-1")
    assert driver.writes() == 0, "it is quiet"
    found = world.find(REPLICATION_CONTROLLERS, "old")
    assert found is not None
    return found


def test_as_many_pods_as_asked(driver: Driver) -> None:
    world = driver.world
    assert isinstance(world, PodWorld)
    found = settle(driver)
    assert found["status"] == {
        "replicas": 2,
        "fullyLabeledReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "observedGeneration": 1,
        "conditions": [],
    }
    for pod in world.pods():
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["apiVersion"], owner["kind"], owner["name"]) == ("v1", "ReplicationController", "old")
    assert {reason for reason, _ in driver.process.recorder.events} == {"SuccessfulCreate"}
    world.change(REPLICATION_CONTROLLERS, "old", lambda document: document["spec"].update(replicas=1))
    assert settle(driver)["status"]["replicas"] == len(world.pods()) == 1
    world.change(REPLICATION_CONTROLLERS, "old", lambda document: document["spec"].update(replicas=0))
    assert settle(driver)["status"] == {"replicas": 0, "observedGeneration": 3, "conditions": []}


def test_pods_are_adopted_and_released_by_their_labels(driver: Driver) -> None:
    world = driver.world
    assert isinstance(world, PodWorld)
    settle(driver)
    first = world.pods()[0]["metadata"]["name"]
    world.change(PODS, first, lambda pod: pod["metadata"].update(labels={"app": "debugging"}))
    settle(driver)
    strayed = world.find(PODS, first)
    assert strayed is not None
    assert controllers(strayed) == []
    assert len(world.pods()) == 3
    world.change(PODS, first, lambda pod: pod["metadata"].update(labels=LABELS))
    settle(driver)
    assert len([pod for pod in world.pods() if not leaving(pod)]) == 2
