from __future__ import annotations

from typing import Any

from memory_cluster import Cluster, Event

from orch.errors import ApiError, ForbiddenError, UnavailableError
from orch.objects.scheme import PODS, REPLICA_SETS
from orch_controllers.replicaset.reconciler import BURST


def replica_set(name: str = "set", replicas: int = 2, labels: dict[str, str] | None = None) -> dict[str, Any]:
    labels = labels or {"app": name}
    spec = {"containers": [{"name": "main", "image": "nginx:1"}]}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def pod(name: str, **labels: str) -> dict[str, Any]:
    containers = [{"name": "main", "image": "nginx:1"}]
    return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": containers}}


def owner(cluster: Cluster, name: str) -> str:
    item = cluster.pods.get("default", name)
    found = item.object.metadata.controller if item is not None else None
    return found.name if found is not None else ""


async def resize(cluster: Cluster, replicas: int) -> None:
    await cluster.client.patch(REPLICA_SETS, "default", "set", {"spec": {"replicas": replicas}})


async def status_is(cluster: Cluster, **counts: object) -> None:
    def holds() -> bool:
        item = cluster.sets.get("default", "set")
        return item is not None and all(getattr(item.object.status, name) == count for name, count in counts.items())

    await cluster.eventually(holds)


async def test_matching_orphans_are_adopted_and_count(cluster: Cluster) -> None:
    await cluster.client.create(PODS, "default", pod("mine", app="set"))
    await cluster.client.create(PODS, "default", pod("other", app="other"))
    await cluster.client.create(REPLICA_SETS, "default", replica_set())
    await cluster.eventually(lambda: owner(cluster, "mine") == "set")
    await status_is(cluster, replicas=2, ready_replicas=2, available_replicas=2, fully_labeled_replicas=2)
    assert owner(cluster, "other") == ""
    assert len(cluster.pods.items("default")) == 3


async def test_a_pod_whose_labels_no_longer_match_is_released_and_replaced(cluster: Cluster) -> None:
    await cluster.client.create(REPLICA_SETS, "default", replica_set())
    await status_is(cluster, ready_replicas=2)
    strayed = cluster.active()[0].metadata.name
    await cluster.client.patch(PODS, "default", strayed, {"metadata": {"labels": {"app": "debugging"}}})
    await cluster.eventually(lambda: owner(cluster, strayed) == "" and len(cluster.ready()) == 3)
    await status_is(cluster, replicas=2)

    await cluster.client.patch(PODS, "default", strayed, {"metadata": {"labels": {"app": "set"}}})
    await cluster.eventually(lambda: len(cluster.active()) == 2)
    await status_is(cluster, replicas=2)


async def test_finished_and_deleted_pods_are_replaced(cluster: Cluster) -> None:
    await cluster.client.create(REPLICA_SETS, "default", replica_set())
    await status_is(cluster, ready_replicas=2)
    failed, deleted = cluster.active()
    await cluster.report(failed, ready=False, phase="Failed")
    cluster.stops = lambda _: False
    await cluster.client.delete(PODS, "default", deleted.metadata.name)
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    await status_is(cluster, replicas=2, terminating_replicas=1)
    assert len(cluster.pods.items("default")) == 4


async def test_a_template_that_is_refused_costs_one_request_and_is_told(cluster: Cluster) -> None:
    requests: list[str] = []

    def refuse(kind: Any) -> ApiError | None:
        requests.append(kind.resource)
        return ForbiddenError('pods "set-" is forbidden: no more pods') if kind is PODS else None

    fail_creations(cluster, refuse)
    await cluster.client.create(REPLICA_SETS, "default", replica_set(replicas=50))

    def failing() -> bool:
        item = cluster.sets.get("default", "set")
        conditions = item.object.status.conditions if item is not None else ()
        return [(each.type, each.status, each.reason) for each in conditions] == [
            ("ReplicaFailure", "True", "FailedCreate")
        ]

    await cluster.eventually(failing)
    tries = requests.count("pods")
    assert tries < 10, "one for each attempt, not one for each pod"
    cluster_events: list[Event] = []

    async def told() -> bool:
        cluster_events[:] = await cluster.events()
        return any(each.reason == "FailedCreate" for each in cluster_events)

    await cluster.eventually(told)
    failure = next(each for each in cluster_events if each.reason == "FailedCreate")
    assert failure.message.startswith("Error creating: pods ")
    assert failure.type == "Warning"

    fail_creations(cluster, lambda _: None)
    await resize(cluster, 2)
    await status_is(cluster, ready_replicas=2, conditions=())


async def test_nothing_is_doubled_when_answers_are_lost(cluster: Cluster) -> None:
    """The write happens, but its answer does not come: the pod is looked up before another is made."""
    lost: list[str] = []
    client = controllers_client(cluster)
    create = client.create

    async def lose(kind: Any, namespace: str, body: Any) -> Any:
        made = await create(kind, namespace, body)
        if kind is PODS and len(lost) < 3:
            lost.append(made.metadata.name)
            raise UnavailableError("no answer within 5 s")
        return made

    client.create = lose
    seen: set[str] = set()
    cluster.pods.on_change(lambda change: seen.add(change.item.name))
    await cluster.client.create(REPLICA_SETS, "default", replica_set(replicas=6))
    await status_is(cluster, ready_replicas=6)
    await cluster.settled()
    assert len(lost) == 3
    assert len(seen) == 6


async def test_nothing_is_doubled_when_the_informer_lags(cluster: Cluster) -> None:
    process, _ = cluster.processes[0]
    informer = process._informers.of(PODS)
    held: list[Any] = []
    take = informer._take
    informer._take = held.append
    seen: set[str] = set()
    cluster.pods.on_change(lambda change: seen.add(change.item.name))
    await cluster.client.create(REPLICA_SETS, "default", replica_set(replicas=5))
    await cluster.eventually(lambda: len(cluster.ready()) == 5)
    for replicas in (6, 5):  # brings the replica set up again and again
        await resize(cluster, replicas)
        await cluster.settled(2)
    assert len(seen) == 5
    informer._take = take
    for message in held:
        take(message)
    await status_is(cluster, ready_replicas=5)
    await cluster.settled()
    assert len(seen) == 5


async def test_pods_that_do_not_serve_go_first(cluster: Cluster) -> None:
    await cluster.client.create(REPLICA_SETS, "default", replica_set(replicas=4))
    await status_is(cluster, ready_replicas=4)
    broken = cluster.active()[1]
    cluster.becomes_ready = lambda each: each.metadata.uid != broken.metadata.uid
    await cluster.report(broken, ready=False)
    await status_is(cluster, ready_replicas=3)
    await resize(cluster, 3)
    await cluster.eventually(lambda: len(cluster.active()) == 3)
    assert broken.metadata.name not in {each.metadata.name for each in cluster.active()}


async def test_many_pods_are_made_in_bursts(cluster: Cluster) -> None:
    cluster.becomes_ready = lambda _: False
    cluster.nodes.clear()  # nothing runs them
    await cluster.client.create(REPLICA_SETS, "default", replica_set(replicas=60))
    assert BURST == 500
    await cluster.eventually(lambda: len(cluster.active()) == 60)
    await cluster.settled(1)
    assert len(cluster.active()) == 60
    await resize(cluster, 0)
    await cluster.eventually(lambda: not cluster.pods.items("default"))


async def test_orphans_of_a_leaving_owner_are_not_taken_back(cluster: Cluster) -> None:
    await cluster.client.create(REPLICA_SETS, "default", replica_set())
    await status_is(cluster, ready_replicas=2)
    names = {each.metadata.name for each in cluster.active()}
    await cluster.client.delete(REPLICA_SETS, "default", "set", propagation="Orphan")
    await cluster.eventually(lambda: cluster.sets.get("default", "set") is None)
    await cluster.settled()
    assert {each.metadata.name for each in cluster.active()} == names
    assert {owner(cluster, name) for name in names} == {""}


def controllers_client(cluster: Cluster) -> Any:
    return cluster.processes[0][0]._client


def fail_creations(cluster: Cluster, refuse: Any) -> None:
    client: Any = controllers_client(cluster)
    create = type(client).create

    async def refusing(kind: Any, namespace: str, body: Any) -> Any:
        if error := refuse(kind):
            raise error
        return await create(client, kind, namespace, body)

    client.create = refusing
