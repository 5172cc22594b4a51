from __future__ import annotations

from typing import Any

from memory_cluster import Cluster

from orch.objects.meta import Object
from orch.objects.scheme import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, SECRETS, Kind

MAPS: Kind[Object] = CONFIG_MAPS.with_view(Object)


async def config_map(cluster: Cluster, name: str, *owners: Object, block: bool = True) -> Object:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": each.metadata.name,
            "uid": each.metadata.uid,
            "blockOwnerDeletion": block,
        }
        for each in owners
    ]
    body = {"metadata": {"name": name, "ownerReferences": references}}
    return await cluster.client.create(MAPS, "default", body)


async def gone(cluster: Cluster, name: str) -> None:
    async def is_gone() -> bool:
        return not await cluster.exists(MAPS, "default", name)

    await cluster.eventually(is_gone)


def nothing_is_left(cluster: Cluster) -> bool:
    return not (cluster.deployments.items() or cluster.sets.items() or cluster.pods.items("default"))


async def test_a_deployment_takes_its_replica_sets_and_pods_with_it(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation="Background")
    await cluster.eventually(lambda: nothing_is_left(cluster))


async def test_in_the_foreground_the_owner_goes_last(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    cluster.stops = lambda _: False
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation="Foreground")
    await cluster.eventually(lambda: not cluster.active())
    await cluster.settled()
    assert len(cluster.pods.items("default")) == 2, "no pod is replaced"
    assert cluster.deployment() is not None
    assert len(cluster.sets.items()) == 1
    cluster.stops = lambda _: True
    await cluster.treat_all()
    await cluster.eventually(lambda: nothing_is_left(cluster))


async def test_orphaned_dependents_stay_and_can_be_adopted_again(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    names = {pod.metadata.name for pod in cluster.active()}
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation="Orphan")
    await cluster.eventually(lambda: cluster.deployment() is None)
    await cluster.settled()
    (left,) = cluster.sets.items()
    assert left.object.metadata.owner_references == ()
    assert {pod.metadata.name for pod in cluster.active()} == names

    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    assert {pod.metadata.name for pod in cluster.active()} == names
    assert [item.uid for item in cluster.sets.items()] == [left.uid]


async def test_a_dependent_goes_with_its_last_owner(cluster: Cluster) -> None:
    first, second = await config_map(cluster, "first"), await config_map(cluster, "second")
    await config_map(cluster, "dependent", first, second)
    await cluster.client.delete(MAPS, "default", "first")

    async def one_left() -> bool:
        found = await cluster.client.get(MAPS, "default", "dependent")
        return [each.name for each in found.metadata.owner_references] == ["second"]

    await cluster.eventually(one_left)
    await cluster.client.delete(MAPS, "default", "second")
    await gone(cluster, "dependent")


async def test_a_dependent_with_another_owner_survives_a_foreground_deletion(cluster: Cluster) -> None:
    first, second = await config_map(cluster, "first"), await config_map(cluster, "second")
    await config_map(cluster, "dependent", first, second)
    await cluster.settled(0.5)
    await cluster.client.delete(MAPS, "default", "first", propagation="Foreground")
    await gone(cluster, "first")
    found = await cluster.client.get(MAPS, "default", "dependent")
    assert [each.name for each in found.metadata.owner_references] == ["second"]


async def test_an_owner_that_never_was_makes_garbage(cluster: Cluster) -> None:
    owner = await config_map(cluster, "owner")
    await cluster.client.delete(MAPS, "default", "owner")
    await config_map(cluster, "dependent", owner)
    await gone(cluster, "dependent")


async def test_an_owner_of_the_same_name_is_not_the_same_owner(cluster: Cluster) -> None:
    owner = await config_map(cluster, "owner")
    await config_map(cluster, "dependent", owner)
    await cluster.settled(0.5)
    await cluster.client.delete(MAPS, "default", "owner")
    await config_map(cluster, "owner")
    await gone(cluster, "dependent")
    assert await cluster.exists(MAPS, "default", "owner")


async def test_owners_of_kinds_that_are_not_known_here_are_left_to_others(cluster: Cluster) -> None:
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "one", "uid": "some-uid"}
    body: dict[str, Any] = {"metadata": {"name": "widgets", "ownerReferences": [reference]}}
    await cluster.client.create(SECRETS, "default", body)
    await cluster.settled()
    assert await cluster.exists(SECRETS, "default", "widgets")


async def test_kinds_that_no_controller_reads_own_and_are_owned(cluster: Cluster) -> None:
    classes = Kind("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False, Object)
    roles = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", True, Object)
    owner = await cluster.client.create(classes, "", {"metadata": {"name": "own"}, "spec": {"controller": "a.b/c"}})
    reference = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "name": "own",
        "uid": owner.metadata.uid,
    }
    await cluster.client.create(roles, "default", {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    await cluster.settled()
    assert await cluster.exists(roles, "default", "owned")
    await cluster.client.delete(classes, "", "own")

    async def is_gone() -> bool:
        return not await cluster.exists(roles, "default", "owned")

    await cluster.eventually(is_gone)


async def test_a_circle_that_waits_for_itself_is_broken(cluster: Cluster) -> None:
    first = await config_map(cluster, "first")
    second = await config_map(cluster, "second", first)
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "second",
        "uid": second.metadata.uid,
        "blockOwnerDeletion": True,
    }
    await cluster.client.patch(MAPS, "default", "first", {"metadata": {"ownerReferences": [reference]}})
    await cluster.settled(0.5)
    await cluster.client.delete(MAPS, "default", "first", propagation="Foreground")
    await gone(cluster, "first")
    await gone(cluster, "second")


async def test_pods_of_a_replica_set_deleted_in_the_background_go_gracefully(cluster: Cluster) -> None:
    await cluster.deploy(replicas=1)
    await cluster.eventually(cluster.is_rolled_out)
    cluster.stops = lambda _: False
    await cluster.client.delete(DEPLOYMENTS, "default", "web")
    await cluster.eventually(lambda: not cluster.sets.items())
    await cluster.eventually(lambda: not cluster.active())
    (pod,) = cluster.pods.items("default")
    assert pod.object.metadata.deletion_grace_period_seconds == 5
    assert not await cluster.exists(REPLICA_SETS, "default", "web")
    await cluster.client.delete(PODS, "default", pod.name, grace_period=0)
    await cluster.eventually(lambda: nothing_is_left(cluster))
