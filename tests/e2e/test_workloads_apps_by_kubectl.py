"""Stateful sets, daemon sets, replication controllers and deployments as people use them: with kubectl alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from local_cluster import LocalCluster
from space import Space

NODES = 3


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    """A namespace of its own; whatever is in it in the end goes with it."""
    simulated.kubectl("create", "namespace", "apps-workloads")
    yield Space(simulated, "apps-workloads")
    simulated.kubectl("delete", "namespace", "apps-workloads", "--wait=false")


def template(name: str, image: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": image}]
    content = {"terminationGracePeriodSeconds": 1, "containers": containers, **spec}
    return {"metadata": {"labels": {"app": name}}, "spec": content}


def workload(kind: str, name: str, image: str = "app:1", **spec: Any) -> dict[str, Any]:
    body = {"selector": {"matchLabels": {"app": name}}, "template": template(name, image), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body}


def stateful(name: str, replicas: int, **spec: Any) -> dict[str, Any]:
    return workload("StatefulSet", name, replicas=replicas, serviceName=name, **spec)


def rolled_out(space: Space, what: str) -> str:
    return space.kubectl("rollout", "status", what, "--timeout=60s", timeout=70)


def pods(space: Space, name: str) -> dict[str, Any]:
    found = space.get("pods", "-l", f"app={name}")
    return {each["metadata"]["name"]: each for each in found if "deletionTimestamp" not in each["metadata"]}


def images(space: Space, name: str) -> list[str]:
    return sorted(each["spec"]["containers"][0]["image"] for each in pods(space, name).values())


def events(space: Space, name: str) -> set[tuple[str, str]]:
    found = space.get("events", f"--field-selector=involvedObject.name={name}")
    return {(each["reason"], each["message"]) for each in found}


def test_a_stateful_set_lives_its_life(space: Space) -> None:
    space.apply(stateful("db", 3))
    assert "3 new pods have been updated" in rolled_out(space, "sts/db")
    found = pods(space, "db")
    assert list(found) == ["db-0", "db-1", "db-2"]
    started = [found[name]["status"]["startTime"] for name in found]
    assert started == sorted(started)
    labels, spec = found["db-1"]["metadata"]["labels"], found["db-1"]["spec"]
    assert (spec["hostname"], spec["subdomain"]) == ("db-1", "db")
    assert labels["statefulset.kubernetes.io/pod-name"] == "db-1"
    assert labels["apps.kubernetes.io/pod-index"] == "1"
    status = space.get("sts", "db")["status"]
    assert status["currentRevision"] == status["updateRevision"] == labels["controller-revision-hash"]
    assert [status[name] for name in ("replicas", "readyReplicas", "availableReplicas", "currentReplicas")] == [3] * 4

    space.kubectl("set", "image", "sts/db", "main=app:2")
    rolled_out(space, "sts/db")
    space.wait(lambda: images(space, "db") == ["app:2"] * 3)
    assert space.kubectl("rollout", "history", "sts/db").split()[-4:] == ["1", "<none>", "2", "<none>"]
    assert "app:1" in space.kubectl("rollout", "history", "sts/db", "--revision=1")
    space.kubectl("rollout", "undo", "sts/db", "--to-revision=1")
    rolled_out(space, "sts/db")
    space.wait(lambda: images(space, "db") == ["app:1"] * 3)
    assert space.kubectl("rollout", "history", "sts/db").split()[-4:] == ["2", "<none>", "3", "<none>"]
    space.kubectl("rollout", "restart", "sts/db")
    rolled_out(space, "sts/db")

    space.kubectl("scale", "sts/db", "--replicas=1")
    space.kubectl("wait", "pod/db-1", "--for=delete", "--timeout=30s")
    space.wait(lambda: list(pods(space, "db")) == ["db-0"])
    told = events(space, "db")
    assert ("SuccessfulCreate", "create Pod db-0 in StatefulSet db successful") in told
    assert ("SuccessfulDelete", "delete Pod db-2 in StatefulSet db successful") in told
    space.kubectl("delete", "sts/db", "--cascade=orphan")
    assert list(pods(space, "db")) == ["db-0"]
    space.apply(stateful("db", 2))
    rolled_out(space, "sts/db")
    space.wait(lambda: list(pods(space, "db")) == ["db-0", "db-1"])
    owner = pods(space, "db")["db-0"]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == space.get("sts", "db")["metadata"]["uid"]


def test_a_partition_keeps_the_first_pods_as_they_were(space: Space) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": 2}}
    space.apply(stateful("shards", 4, updateStrategy=rolling, podManagementPolicy="Parallel", ordinals={"start": 10}))
    rolled_out(space, "sts/shards")
    assert list(pods(space, "shards")) == [f"shards-{number}" for number in range(10, 14)]
    space.kubectl("set", "image", "sts/shards", "main=app:2")
    assert "2 new pods have been updated" in rolled_out(space, "sts/shards")
    found = {name: pod["spec"]["containers"][0]["image"] for name, pod in pods(space, "shards").items()}
    assert found == {"shards-10": "app:1", "shards-11": "app:1", "shards-12": "app:2", "shards-13": "app:2"}
    space.kubectl("delete", "pod", "shards-10")
    space.kubectl("wait", "sts/shards", "--for=jsonpath={.status.availableReplicas}=4", "--timeout=30s")
    assert images(space, "shards") == ["app:1"] * 2 + ["app:2"] * 2, "it comes back as it was"
    space.kubectl("patch", "sts", "shards", "-p", '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}')
    space.wait(lambda: images(space, "shards") == ["app:2"] * 4)
    space.kubectl("delete", "sts/shards", "--wait=false")


def test_every_node_runs_its_daemon(space: Space) -> None:
    space.apply(workload("DaemonSet", "agent"))
    assert "successfully rolled out" in rolled_out(space, "ds/agent")
    found = pods(space, "agent")
    assert len({pod["spec"]["nodeName"] for pod in found.values()}) == NODES == len(found)
    space.kubectl("set", "image", "ds/agent", "main=app:2")
    rolled_out(space, "ds/agent")
    space.wait(lambda: images(space, "agent") == ["app:2"] * NODES)
    space.kubectl("rollout", "undo", "ds/agent")
    rolled_out(space, "ds/agent")
    space.wait(lambda: images(space, "agent") == ["app:1"] * NODES)
    assert space.kubectl("rollout", "history", "ds/agent").split()[-4:] == ["2", "<none>", "3", "<none>"]
    surge = '{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":"100%"}}}}'
    space.kubectl("patch", "ds", "agent", "-p", surge)
    space.kubectl("rollout", "restart", "ds/agent")
    rolled_out(space, "ds/agent")
    space.kubectl("patch", "ds", "agent", "-p", '{"spec":{"template":{"spec":{"nodeSelector":{"never":"here"}}}}}')
    space.kubectl("wait", "ds/agent", "--for=jsonpath={.status.desiredNumberScheduled}=0", "--timeout=30s")
    space.wait(lambda: pods(space, "agent") == {})


def test_pods_on_delete_are_replaced_by_hand(space: Space) -> None:
    space.apply(workload("DaemonSet", "quiet", updateStrategy={"type": "OnDelete"}))
    space.wait(lambda: space.get("ds", "quiet")["status"].get("numberAvailable") == NODES)
    space.kubectl("set", "image", "ds/quiet", "main=app:2")
    space.wait(lambda: space.get("ds", "quiet")["status"]["observedGeneration"] == 2)
    assert images(space, "quiet") == ["app:1"] * NODES
    space.kubectl("delete", "pod", next(iter(pods(space, "quiet"))))
    space.wait(lambda: images(space, "quiet") == ["app:1"] * (NODES - 1) + ["app:2"])
    space.wait(lambda: space.get("ds", "quiet")["status"]["updatedNumberScheduled"] == 1)
    space.kubectl("delete", "ds/quiet", "--wait=false")


def test_a_replication_controller_keeps_its_number(space: Space) -> None:
    body = {"replicas": 2, "selector": {"app": "old"}, "template": template("old", "app:1")}
    space.apply({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"}, "spec": body})
    space.kubectl("wait", "rc/old", "--for=jsonpath={.status.availableReplicas}=2", "--timeout=30s")
    space.kubectl("scale", "rc/old", "--replicas=3")
    space.kubectl("wait", "rc/old", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    assert any(reason == "SuccessfulCreate" for reason, _ in events(space, "old"))
    space.kubectl("expose", "rc/old", "--name=front", "--port=1234", "--target-port=6379")
    front = space.get("service", "front")["spec"]
    assert front["selector"] == {"app": "old"}
    assert [(one["port"], one["targetPort"]) for one in front["ports"]] == [(1234, 6379)]
    for name in pods(space, "old"):
        space.kubectl("patch", "pod", name, "-p", '{"metadata": {"annotations": {"x": "y"}}}')
        changed = space.get("pod", name)
        assert changed["metadata"]["annotations"]["x"] == "y"
        changed["spec"]["containers"][0]["image"] = "app:2"
        del changed["metadata"]["resourceVersion"]
        space.kubectl("replace", "-f", "-", stdin=json.dumps(changed))
    assert images(space, "old") == ["app:2"] * 3
    told = space.kubectl("describe", "rc/old")
    assert "Replicas:     3 current / 3 desired" in told
    space.kubectl("delete", "rc/old", "--cascade=foreground", "--timeout=30s")
    assert pods(space, "old") == {}


def test_a_deployment_is_paused_undone_and_restarted(space: Space) -> None:
    space.apply(workload("Deployment", "site", replicas=3))
    rolled_out(space, "deploy/site")
    space.kubectl("rollout", "pause", "deploy/site")
    space.kubectl("set", "image", "deploy/site", "main=app:2")
    space.kubectl("scale", "deploy/site", "--replicas=4")
    space.wait(lambda: images(space, "site") == ["app:1"] * 4)
    space.kubectl("rollout", "resume", "deploy/site")
    rolled_out(space, "deploy/site")
    space.wait(lambda: images(space, "site") == ["app:2"] * 4)
    space.kubectl("rollout", "undo", "deploy/site")
    rolled_out(space, "deploy/site")
    space.wait(lambda: images(space, "site") == ["app:1"] * 4)
    space.kubectl("rollout", "restart", "deploy/site")
    rolled_out(space, "deploy/site")
    assert space.kubectl("rollout", "history", "deploy/site").split()[-2:] == ["4", "<none>"]
    space.kubectl("wait", "deploy/site", "--for=condition=Progressing", "--timeout=30s")
    space.kubectl("delete", "deploy/site", "--wait=false")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (
            stateful("bad", 1, selector={"matchLabels": {"app": "other"}}),
            "`selector` does not match template `labels`",
        ),
        (stateful("bad", -1), "must be greater than or equal to 0"),
        (workload("DaemonSet", "bad", updateStrategy={"type": "Sometimes"}), "spec.updateStrategy"),
        (
            workload("DaemonSet", "bad", updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}),
            "may not be set when maxUnavailable is non-zero",
        ),
        (stateful("bad", 1, persistentVolumeClaimRetentionPolicy={"whenScaled": "Burn"}), "whenScaled"),
    ],
)
def test_what_makes_no_sense_is_refused(space: Space, manifest: dict[str, Any], said: str) -> None:
    manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": space.name}}
    assert said in space.cluster.apply(manifest, check=False)


def test_a_huge_stateful_set_is_begun_in_order_and_can_be_deleted(space: Space) -> None:
    broken = template("huge", "app:1", nodeSelector={"never": "here"})
    space.apply(stateful("huge", 2_000_000_000, template=broken))
    space.wait(lambda: list(pods(space, "huge")) == ["huge-0"])
    assert space.get("sts", "huge")["status"]["replicas"] == 1
    space.kubectl("delete", "sts/huge", "--cascade=foreground", "--timeout=30s")
    assert pods(space, "huge") == {}
