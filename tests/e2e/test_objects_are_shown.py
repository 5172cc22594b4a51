"""What kubectl reads and how it shows it: tables, describe, explain, selectors, pages, watches, wait, events."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from local_cluster import LocalCluster
from rollout import deployment

READY = re.compile(r"web-\w+-\w+ +1/1 +Running +0 +\d+s")


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> str:
    """A namespace with a Deployment of three pods, for all tests here to look at."""
    simulated.kubectl("create", "namespace", "shown")
    simulated.kubectl("-n", "shown", "apply", "-f", "-", stdin=json.dumps(deployment(3, 1)))
    simulated.kubectl("-n", "shown", "rollout", "status", "deployment/web", "--timeout=60s")
    return "shown"


@pytest.fixture(scope="module")
def kubectl(simulated: LocalCluster, space: str) -> Callable[..., str]:
    return lambda *arguments, **options: simulated.kubectl("-n", space, *arguments, **options)


def test_tables(kubectl: Callable[..., str]) -> None:
    pods = kubectl("get", "pods").splitlines()
    assert pods[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert len(pods) == 4
    assert all(READY.fullmatch(line) for line in pods[1:]), pods
    wide = kubectl("get", "pods", "-o", "wide").splitlines()
    assert wide[0].split()[5:8] == ["IP", "NODE", "NOMINATED"]
    assert all(re.search(r"10\.64\.\d+\.\d+ +node-[123] ", line) for line in wide[1:]), wide
    (shown,) = kubectl("get", "deployments", "--no-headers").splitlines()
    assert shown.split()[:4] == ["web", "3/3", "3", "3"]
    (shown,) = kubectl("get", "replicasets", "--no-headers", "-o", "wide").splitlines()
    assert shown.split()[1:4] == ["3", "3", "3"]
    assert "pod-template-hash=" in shown
    nodes = kubectl("get", "nodes", "--no-headers", "--sort-by=.metadata.name").splitlines()
    assert [line.split()[:2] for line in nodes] == [[f"node-{number}", "Ready"] for number in (1, 2, 3)]
    everything = kubectl("get", "all")
    assert {"deployment.apps/web", "pod/web", "replicaset.apps/web"} <= set(re.findall(r"[a-z.]+/web", everything))
    names = kubectl("get", "pods", "-o", "custom-columns=NODE:.spec.nodeName", "--no-headers").split()
    assert set(names) == {"node-1", "node-2", "node-3"}


def test_describe(kubectl: Callable[..., str]) -> None:
    told = kubectl("describe", "deployment", "web")
    assert "3 desired | 3 updated | 3 total | 3 available | 0 unavailable" in told
    assert re.search(r"ScalingReplicaSet .*deployment-controller +Scaled up replica set web-\w+ from 0 to 3", told)
    pod = kubectl("get", "pods", "-o", "name").split()[0]
    told = kubectl("describe", pod)
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert len(re.findall(rf"Normal +{reason} ", told)) == 1, told
    told = kubectl("describe", "node", "node-1")
    assert re.search(r"Ready +True .*KubeletReady", told)
    assert "Non-terminated Pods:" in told


def test_explain_and_what_there_is(kubectl: Callable[..., str]) -> None:
    told = kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "FIELD: maxSurge <IntOrString>" in told
    assert "maximum number of pods that can be scheduled above the desired number" in told
    told = kubectl("explain", "pods.spec.tolerations", "--recursive")
    assert "tolerationSeconds" in told
    told = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "leases.coordination.k8s.io", "namespaces"} <= set(told)
    assert "apps/v1" in kubectl("api-versions").split()
    assert "Server Version: v1.37" in kubectl("version")


def test_selectors(kubectl: Callable[..., str]) -> None:
    def names(*arguments: str) -> list[str]:
        return kubectl("get", "pods", "-o", "name", *arguments).split()

    every = names()
    assert len(every) == 3
    assert names("-l", "app=web") == names("-l", "app in (web,other),pod-template-hash") == every
    assert names("-l", "app!=web") == names("-l", "!app") == []
    assert names("--field-selector", "status.phase=Running") == every
    one = every[0].removeprefix("pod/")
    assert names("--field-selector", f"metadata.name={one}") == [every[0]]
    node = kubectl("get", every[0], "-o", "jsonpath={.spec.nodeName}")
    assert names("--field-selector", f"spec.nodeName={node}") == [every[0]]
    assert sorted(names("--field-selector", f"metadata.name!={one}")) == sorted(every[1:])


def test_pages(simulated: LocalCluster, kubectl: Callable[..., str], space: str) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"page-{n:02}"}} for n in range(25)]
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    listed = kubectl("get", "configmaps", "--chunk-size=4", "-o", "name").split()
    assert [name for name in listed if "page-" in name] == [f"configmap/page-{n:02}" for n in range(25)]

    rest, path = simulated.rest(), f"/api/v1/namespaces/{space}/configmaps"
    first = rest("GET", path, limit=10).body
    assert len(first["items"]) == 10
    assert first["metadata"]["remainingItemCount"] == len(listed) - 10
    # What comes after the first page is not seen by the second: a list is of one moment.
    kubectl("delete", "configmap", "page-24")
    second = rest("GET", path, limit=100, **{"continue": first["metadata"]["continue"]}).body
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]
    names = [item["metadata"]["name"] for page in (first, second) for item in page["items"]]
    assert names == [name.removeprefix("configmap/") for name in listed]


def test_watches(simulated: LocalCluster, kubectl: Callable[..., str], space: str) -> None:
    watching = simulated.kubectl_start(
        "-n", space, "get", "configmaps", "-l", "seen=yes", "-w", "--output-watch-events"
    )
    try:
        assert watching.stdout is not None
        kubectl("create", "configmap", "unseen")
        kubectl("create", "configmap", "seen", "--from-literal=a=1")
        kubectl("label", "configmap", "seen", "seen=yes")
        kubectl("patch", "configmap", "seen", "-p", '{"data": {"b": "2"}}')
        kubectl("label", "configmap", "seen", "seen-")
        lines = [watching.stdout.readline().split()[:3] for _ in range(4)]
    finally:
        watching.kill()
        watching.communicate()
    expected = [["ADDED", "seen", "1"], ["MODIFIED", "seen", "2"], ["DELETED", "seen", "2"]]
    assert lines == [["EVENT", "NAME", "DATA"], *expected]

    # The same over plain HTTPS, from a version on.
    rest, path = simulated.rest(), f"/api/v1/namespaces/{space}/configmaps"
    version = rest("GET", path).body["metadata"]["resourceVersion"]
    kubectl("delete", "configmap", "seen", "unseen")
    with rest.watch(path, resourceVersion=version) as events:
        assert [next(events)["object"]["metadata"]["name"] for _ in range(2)] == ["seen", "unseen"]
    with rest.watch(
        path,
        labelSelector="app",
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    ) as events:
        end = next(events)
    assert end["type"] == "BOOKMARK"
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_wait(kubectl: Callable[..., str]) -> None:
    assert "condition met" in kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=20s")
    told = kubectl("wait", "pods", "-l", "app=web", "--for=condition=Ready", "--timeout=20s")
    assert told.count("condition met") == 3
    assert "met" in kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=20s")
    told = kubectl("wait", "deployment/web", "--for=condition=Broken", "--timeout=1s", check=False)
    assert "timed out waiting for the condition" in told


def test_events(kubectl: Callable[..., str]) -> None:
    told = kubectl("events", "--for=deployment/web")
    assert "ScalingReplicaSet" in told
    told = kubectl("get", "events", "--field-selector=reason=Scheduled,involvedObject.kind=Pod")
    assert told.count("Successfully assigned shown/web-") == 3


def test_a_pod_that_fits_nowhere_says_why(kubectl: Callable[..., str], simulated: LocalCluster) -> None:
    wants = {"containers": [{"name": "main", "image": "nginx", "resources": {"requests": {"cpu": "1000"}}}]}
    kubectl("run", "greedy", "--image=nginx", f"--overrides={json.dumps({'spec': wants})}")
    said = "0/3 nodes are available: 3 Insufficient cpu."
    simulated.wait(lambda: said in kubectl("events", "--for=pod/greedy"), what="FailedScheduling")
    condition = json.loads(kubectl("get", "pod", "greedy", "-o", "json"))["status"]["conditions"][0]
    assert (condition["type"], condition["reason"]) == ("PodScheduled", "Unschedulable")
    assert said in condition["message"]
    kubectl("delete", "pod", "greedy")
