"""What a deletion takes along and what it leaves: grace, cascades, finalizers, namespaces with all that is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from local_cluster import LocalCluster
from rollout import deployment


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


@pytest.fixture
def kubectl(simulated: LocalCluster, space: str) -> Callable[..., str]:
    return lambda *arguments, **options: simulated.kubectl("-n", space, *arguments, **options)


@pytest.fixture
def items(simulated: LocalCluster, space: str) -> Callable[[str], list[dict[str, Any]]]:
    return lambda kind: simulated.get("-n", space, kind)


@pytest.fixture
def web(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(deployment(2, 1)))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")


@pytest.mark.usefixtures("web")
def test_what_it_owns_goes_with_a_deployment(simulated: LocalCluster, kubectl: Any, items: Any) -> None:
    kubectl("delete", "deployment", "web")
    simulated.wait(lambda: not items("replicasets") and not items("pods"), what="everything goes")


@pytest.mark.usefixtures("web")
def test_orphans_stay_and_are_adopted(simulated: LocalCluster, kubectl: Any, items: Any) -> None:
    pods = {pod["metadata"]["uid"] for pod in items("pods")}
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    assert items("deployments") == []
    (left,) = items("replicasets")
    assert "ownerReferences" not in left["metadata"]
    assert {pod["metadata"]["uid"] for pod in items("pods")} == pods
    kubectl("apply", "-f", "-", stdin=json.dumps(deployment(2, 1)))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    (adopted,) = items("replicasets")
    assert adopted["metadata"]["uid"] == left["metadata"]["uid"]
    assert adopted["metadata"]["ownerReferences"][0]["name"] == "web"
    assert {pod["metadata"]["uid"] for pod in items("pods")} == pods


@pytest.mark.usefixtures("web")
def test_foreground_waits_for_what_it_owns(kubectl: Any, items: Any) -> None:
    kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
    # kubectl waited for the owner, which waited for its pods.
    assert (items("replicasets"), items("pods")) == ([], [])


def test_grace(simulated: LocalCluster, kubectl: Any, items: Any, space: str) -> None:
    for name in ("slow", "forced"):
        kubectl("run", name, "--image=web:1")
    kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=60s")
    kubectl("patch", "pod", "slow", "-p", '{"metadata": {"finalizers": ["example.org/kept"]}}')
    slow = simulated.rest()("DELETE", f"/api/v1/namespaces/{space}/pods/slow", gracePeriodSeconds=7).body
    assert slow["metadata"]["deletionGracePeriodSeconds"] == 7
    assert "deletionTimestamp" in slow["metadata"]
    told = kubectl("delete", "pod", "forced", "--grace-period=0", "--force")
    assert "Immediate deletion does not wait for confirmation" in told
    assert [pod["metadata"]["name"] for pod in items("pods")] == ["slow"]
    kubectl("patch", "pod", "slow", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    simulated.wait(lambda: items("pods") == [], what="the pod goes once nothing holds it")


def test_a_selection_and_all_of_a_kind(kubectl: Any, items: Any) -> None:
    for number in range(6):
        kubectl("create", "configmap", f"c{number}")
        kubectl("label", "configmap", f"c{number}", f"odd={number % 2}")
    kubectl("delete", "configmaps", "-l", "odd=1")
    names = {item["metadata"]["name"] for item in items("configmaps")} - {"kube-root-ca.crt"}
    assert names == {"c0", "c2", "c4"}
    kubectl("delete", "configmaps", "--all")
    assert {item["metadata"]["name"] for item in items("configmaps")} <= {"kube-root-ca.crt"}
    assert "not found" in kubectl("delete", "configmap", "c0", check=False)
    assert kubectl("delete", "configmap", "c0", "--ignore-not-found") == ""


def test_ways_to_choose_what_goes(kubectl: Any, items: Any) -> None:
    for name in ("one", "two", "three"):
        kubectl("run", name, "--image=a", "--restart=Never", "--env=SIMULATED_RUN_SECONDS=0")
    kubectl("run", "four", "--image=a")
    kubectl("wait", "pod/one", "pod/two", "pod/three", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    for side in ("client", "server"):
        told = kubectl("delete", "pod", "one", f"--dry-run={side}")
        assert told.startswith('pod "one" deleted')
        assert len(items("pods")) == 4
    assert kubectl("delete", "pod/one", "-o", "name") == "pod/one\n"
    kubectl("delete", "pods", "--field-selector=status.phase=Succeeded")
    assert [pod["metadata"]["name"] for pod in items("pods")] == ["four"]
    kubectl("wait", "pod/four", "--for=condition=Ready", "--timeout=60s")
    kubectl("delete", "pod", "four", "--now")
    assert items("pods") == []
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "f"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    manifest = json.dumps(pod)
    kubectl("create", "-f", "-", stdin=manifest)
    assert kubectl("delete", "-f", "-", "--wait=false", stdin=manifest).startswith('pod "f" deleted')
    kubectl("wait", "pod/f", "--for=delete", "--timeout=60s")
    assert 'pods "f" not found' in kubectl("delete", "-f", "-", stdin=manifest, check=False)


def test_what_cannot_be_deleted(kubectl: Any) -> None:
    for command, said in (
        (("pod", "none"), 'Error from server (NotFound): pods "none" not found\n'),
        (("pods", "--all", "--field-selector=status.phase=Failed"), "found a non empty selector"),
        (("configmaps",), "error: resource(s) were provided, but no name was specified\n"),
        (("nothing", "x"), 'error: the server doesn\'t have a resource type "nothing"\n'),
        (("pods", "-l", "a=b"), "No resources found\n"),
        (("pod", "none", "--grace-period=-2"), "not found"),
        (
            ("pod", "none", "--now", "--grace-period=5"),
            "--now and --grace-period cannot be specified together",
        ),
    ):
        assert said in kubectl("delete", *command, check=False)


def test_a_namespace_goes_with_all_that_is_in_it(simulated: LocalCluster) -> None:
    simulated.kubectl("create", "namespace", "doomed")
    simulated.wait(lambda: simulated.get("-n", "doomed", "serviceaccounts"), what="the default service account")
    simulated.kubectl("-n", "doomed", "create", "deployment", "web", "--image=web:1", "--replicas=3")
    simulated.kubectl("-n", "doomed", "create", "secret", "generic", "s", "--from-literal=a=1")
    simulated.kubectl("-n", "doomed", "rollout", "status", "deployment/web", "--timeout=60s")
    simulated.kubectl("delete", "namespace", "doomed", "--wait=false")
    late = simulated.kubectl("-n", "doomed", "create", "configmap", "late", check=False)
    assert "because it is being terminated" in late or 'namespaces "doomed" not found' in late
    simulated.kubectl("wait", "namespace/doomed", "--for=delete", "--timeout=60s")
    for kind in ("pods", "replicasets", "deployments", "secrets", "serviceaccounts", "events"):
        assert simulated.get(kind, "-A", "--field-selector", "metadata.namespace=doomed") == []
    # Its name can be used again, and nothing of the old one comes back.
    simulated.kubectl("create", "namespace", "doomed")
    assert simulated.get("-n", "doomed", "pods") == []
    simulated.kubectl("delete", "namespace", "doomed", "--timeout=60s")
