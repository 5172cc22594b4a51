from __future__ import annotations

from collections.abc import Callable

import pytest
from memory_cluster import Cluster, Watcher

from orch.clock import parse_rfc3339
from orch.objects.scheme import DEPLOYMENTS, PODS, REPLICA_SETS

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"


async def test_a_deployment_makes_its_pods(cluster: Cluster) -> None:
    await cluster.deploy(replicas=3)
    await cluster.eventually(cluster.is_rolled_out)
    deployment = cluster.deployment()
    assert deployment is not None
    replica_set = cluster.replica_sets()["nginx:1"]
    assert deployment.metadata.annotations[REVISION] == "1"
    assert replica_set.metadata.annotations[REVISION] == "1"
    assert replica_set.metadata.labels["pod-template-hash"] == replica_set.metadata.name.removeprefix("web-")
    assert replica_set.spec.selector.match_labels.keys() == {"app", "pod-template-hash"}
    for pod in cluster.active():
        assert pod.metadata.name.startswith(f"{replica_set.metadata.name}-")
        assert pod.metadata.generate_name == f"{replica_set.metadata.name}-"
        assert pod.metadata.labels == replica_set.spec.template.metadata.labels
    conditions = {each.type: each for each in deployment.status.conditions}
    assert conditions["Available"].reason == "MinimumReplicasAvailable"
    assert conditions["Progressing"].reason == "NewReplicaSetAvailable"
    assert conditions["Progressing"].message == f'ReplicaSet "{replica_set.metadata.name}" has successfully progressed.'


async def test_scaling_changes_the_pods_and_makes_no_revision(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.change(replicas=5)
    await cluster.eventually(lambda: len(cluster.ready()) == 5 and cluster.is_rolled_out())
    await cluster.change(replicas=1)
    await cluster.eventually(lambda: len(cluster.active()) == 1 and cluster.is_rolled_out())
    await cluster.change(replicas=0)
    await cluster.eventually(lambda: not cluster.pods.items("default") and cluster.is_rolled_out())
    assert list(cluster.replica_sets()) == ["nginx:1"]


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"),
    [(1, 0, 5, 4), (0, 1, 4, 3), ("50%", "25%", 6, 3), ("100%", "0%", 8, 4), (0, "100%", 4, 0)],
)
async def test_a_rollout_keeps_its_bounds_at_every_moment(
    cluster: Cluster, watch: Callable[[], Watcher], surge: int | str, unavailable: int | str, most: int, fewest: int
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    await cluster.deploy(replicas=4, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    await cluster.eventually(cluster.is_rolled_out)
    watcher = watch()
    await cluster.set_image("nginx:2")
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:2"))
    assert watcher.most <= most
    assert watcher.fewest >= fewest
    assert len(watcher.names) <= 8, "no pod was made in vain"


async def test_templates_that_change_quickly_do_not_break_the_bounds(
    cluster: Cluster, watch: Callable[[], Watcher]
) -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    await cluster.deploy(replicas=3, strategy={"rollingUpdate": rolling})
    await cluster.eventually(cluster.is_rolled_out)
    watcher = watch()
    for image in ("nginx:2", "nginx:3", "nginx:2", "nginx:4"):
        await cluster.set_image(image)
        await cluster.pass_time(0.15)
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:4"))
    assert watcher.most <= 4
    assert watcher.fewest >= 3


async def test_a_rollout_waits_for_pods_that_do_not_become_ready(
    cluster: Cluster, watch: Callable[[], Watcher]
) -> None:
    await cluster.deploy(replicas=4, progressDeadlineSeconds=30)
    await cluster.eventually(cluster.is_rolled_out)
    watcher = watch()
    cluster.becomes_ready = lambda pod: pod.spec.containers[0].image != "nginx:2"
    await cluster.set_image("nginx:2")
    await cluster.eventually(lambda: len(cluster.active("nginx:2")) == 2)
    await cluster.eventually(lambda: _reason(cluster) == "ProgressDeadlineExceeded", 60)
    assert len(cluster.ready("nginx:1")) == 3
    assert watcher.most <= 5
    assert watcher.fewest >= 3
    deployment = cluster.deployment()
    assert deployment is not None
    progressing = next(each for each in deployment.status.conditions if each.type == "Progressing")
    assert progressing.status == "False"
    assert progressing.message.endswith("has timed out progressing.")

    cluster.becomes_ready = lambda _: True
    await cluster.treat_all()
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:2"))
    assert _reason(cluster) == "NewReplicaSetAvailable"


async def test_a_pod_is_available_when_it_has_been_ready_for_long_enough(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2, minReadySeconds=20)
    await cluster.eventually(lambda: len(cluster.ready()) == 2)
    ready_at = cluster.clock.now()
    await cluster.eventually(cluster.is_rolled_out, 40)
    assert 18 <= (cluster.clock.now() - ready_at).total_seconds() <= 25
    since = {parse_rfc3339(pod.status.conditions[0].last_transition_time) for pod in cluster.ready()}
    assert min((cluster.clock.now() - each).total_seconds() for each in since) >= 20


async def test_undo_brings_a_revision_back_under_a_new_number(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.set_image("nginx:2")
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:2"))
    first = cluster.replica_sets()["nginx:1"]

    await cluster.set_image("nginx:1")  # what `kubectl rollout undo` comes to
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:1"))
    sets = cluster.replica_sets()
    assert sets["nginx:1"].metadata.uid == first.metadata.uid
    assert sets["nginx:1"].metadata.annotations[REVISION] == "3"
    assert sets["nginx:1"].metadata.annotations[HISTORY] == "1"
    assert sets["nginx:2"].metadata.annotations[REVISION] == "2"
    deployment = cluster.deployment()
    assert deployment is not None
    assert deployment.metadata.annotations[REVISION] == "3"
    assert len(sets) == 2


async def test_old_revisions_go_past_the_history_limit(cluster: Cluster) -> None:
    await cluster.deploy(replicas=1, revisionHistoryLimit=1)
    await cluster.eventually(cluster.is_rolled_out)
    for image in ("nginx:2", "nginx:3", "nginx:4"):
        await cluster.set_image(image)
        await cluster.eventually(lambda image=image: cluster.is_rolled_out(image))
    await cluster.eventually(lambda: cluster.replica_sets().keys() == {"nginx:3", "nginx:4"})


async def test_a_paused_deployment_holds_its_template_but_follows_its_scale(cluster: Cluster) -> None:
    await cluster.deploy(replicas=2)
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.change(paused=True)
    await cluster.eventually(lambda: _reason(cluster) == "DeploymentPaused")
    await cluster.set_image("nginx:2")
    await cluster.settled()
    assert "nginx:2" not in cluster.replica_sets()
    await cluster.change(replicas=4)
    await cluster.eventually(lambda: len(cluster.ready("nginx:1")) == 4)

    await cluster.change(paused=False)
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:2"))
    assert _reason(cluster) == "NewReplicaSetAvailable"


async def test_recreate_ends_every_old_pod_before_the_first_new_one(cluster: Cluster) -> None:
    together: list[set[str]] = []
    cluster.pods.on_change(
        lambda _: together.append({item.object.spec.containers[0].image for item in cluster.pods.items("default")})
    )
    await cluster.deploy(replicas=3, strategy={"type": "Recreate"})
    await cluster.eventually(cluster.is_rolled_out)
    cluster.stops = lambda _: False
    await cluster.set_image("nginx:2")
    await cluster.eventually(lambda: not cluster.active("nginx:1"))
    await cluster.settled()
    assert not cluster.active("nginx:2"), "the old pods are still being stopped"
    cluster.stops = lambda _: True
    await cluster.treat_all()
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:2"))
    assert {"nginx:1", "nginx:2"} not in together


async def test_a_deployment_scaled_while_it_rolls_shares_the_pods_in_proportion(cluster: Cluster) -> None:
    rolling = {"maxSurge": 3, "maxUnavailable": 2}
    await cluster.deploy(replicas=10, strategy={"rollingUpdate": rolling})
    await cluster.eventually(cluster.is_rolled_out)
    cluster.becomes_ready = lambda pod: pod.spec.containers[0].image != "nginx:2"
    await cluster.set_image("nginx:2")
    await cluster.eventually(lambda: len(cluster.active("nginx:1")) == 8 and len(cluster.active("nginx:2")) == 5)
    await cluster.change(replicas=15)
    await cluster.eventually(lambda: len(cluster.active("nginx:1")) == 11 and len(cluster.active("nginx:2")) == 7)
    await cluster.settled(1)
    assert len(cluster.active()) == 18


async def test_a_hash_collision_is_counted_and_gets_another_name(cluster: Cluster) -> None:
    await cluster.deploy(replicas=1)
    await cluster.eventually(cluster.is_rolled_out)
    ours = cluster.replica_sets()["nginx:1"]
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation="Orphan")
    await cluster.eventually(lambda: cluster.deployment() is None)
    stranger = {"metadata": {"uid": ours.metadata.uid, "labels": {"app": "other"}}}
    await cluster.client.patch(REPLICA_SETS, "default", ours.metadata.name, stranger)
    await cluster.deploy(replicas=1)
    await cluster.eventually(lambda: (found := cluster.deployment()) and found.status.collision_count == 1)
    await cluster.eventually(lambda: _updated(cluster) == 1)
    names = {item.name for item in cluster.sets.items("default")}
    assert len(names) == 2
    assert ours.metadata.name in names


async def test_what_happens_is_told_in_events(cluster: Cluster) -> None:
    await cluster.deploy(replicas=1)
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.set_image("nginx:2")
    await cluster.eventually(lambda: cluster.is_rolled_out("nginx:2"))
    first, second = (cluster.replica_sets()[image].metadata.name for image in ("nginx:1", "nginx:2"))

    async def told() -> set[tuple[str, str, str]]:
        return {(each.source["component"], each.reason, each.message) for each in await cluster.events()}

    async def all_told() -> bool:
        return len(await told()) >= 6

    await cluster.eventually(all_told)
    found = await told()
    controller = "deployment-controller"
    assert (controller, "ScalingReplicaSet", f"Scaled up replica set {first} from 0 to 1") in found
    assert (controller, "ScalingReplicaSet", f"Scaled up replica set {second} from 0 to 1") in found
    assert (controller, "ScalingReplicaSet", f"Scaled down replica set {first} from 1 to 0") in found
    made = {message for component, reason, message in found if reason == "SuccessfulCreate"}
    gone = {message for component, reason, message in found if reason == "SuccessfulDelete"}
    assert {message.rpartition("-")[0] for message in made} == {f"Created pod: {first}", f"Created pod: {second}"}
    assert {message.rpartition("-")[0] for message in gone} == {f"Deleted pod: {first}"}


async def test_annotations_and_min_ready_seconds_reach_the_replica_set(cluster: Cluster) -> None:
    await cluster.deploy(replicas=1)
    await cluster.eventually(cluster.is_rolled_out)
    annotated = {"metadata": {"annotations": {"kubernetes.io/change-cause": "because"}}, "spec": {"minReadySeconds": 1}}
    await cluster.client.patch(DEPLOYMENTS, "default", "web", annotated)

    def reached() -> bool:
        found = cluster.replica_sets()["nginx:1"]
        cause = found.metadata.annotations.get("kubernetes.io/change-cause")
        return cause == "because" and found.spec.min_ready_seconds == 1

    await cluster.eventually(reached)
    await cluster.eventually(cluster.is_rolled_out)
    assert len(cluster.replica_sets()) == 1


async def test_a_killed_pod_is_replaced_and_only_once(cluster: Cluster, watch: Callable[[], Watcher]) -> None:
    await cluster.deploy(replicas=3)
    await cluster.eventually(cluster.is_rolled_out)
    watcher = watch()
    victim = cluster.active()[0].metadata
    await cluster.client.delete(PODS, "default", victim.name)
    await cluster.eventually(lambda: victim.name not in {pod.metadata.name for pod in cluster.active()})
    await cluster.eventually(cluster.is_rolled_out)
    await cluster.settled(1)
    assert len(watcher.names) == 4, "three, and the successor of one"
    assert watcher.most == 3


def _reason(cluster: Cluster) -> str:
    deployment = cluster.deployment()
    assert deployment is not None
    return next((each.reason for each in deployment.status.conditions if each.type == "Progressing"), "")


def _updated(cluster: Cluster) -> int:
    deployment = cluster.deployment()
    return deployment.status.updated_replicas if deployment is not None else 0
