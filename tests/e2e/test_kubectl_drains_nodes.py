"""`kubectl drain`, `cordon` and `taint`: what is evicted, what is spared, and what holds a drain up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from local_cluster import LocalCluster
from rollout import deployment
from space import Space

FORCED = ("--force", "--ignore-daemonsets", "--delete-emptydir-data")


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    simulated.kubectl("create", "namespace", "drains")
    yield Space(simulated, "drains")
    simulated.kubectl("delete", "namespace", "drains", "--wait=false")


@pytest.fixture(autouse=True)
def _nodes_are_as_before(simulated: LocalCluster) -> Iterator[None]:
    yield
    simulated.kubectl("uncordon", "node-1", "node-2", "node-3")


def pod(name: str, node: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": name}, **more.pop("metadata", {})}
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "a"}], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def budget(space: Space, healthy: int, allowed: int) -> None:
    """Give the budget the status that its controller would give it; whether one runs does not matter here."""
    generation = space.get("pdb", "web")["metadata"]["generation"]
    counts = {"currentHealthy": healthy, "desiredHealthy": healthy - allowed, "expectedPods": healthy}
    status = {"observedGeneration": generation, "disruptionsAllowed": allowed, **counts}
    patch = json.dumps({"status": status})
    space.kubectl("patch", "pdb", "web", "--subresource=status", "--type=merge", "-p", patch)


def test_a_budget_holds_a_drain_up(space: Space) -> None:
    web = deployment(2, 1)
    web["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node-1"}
    space.apply(web)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    before = {each["metadata"]["name"] for each in space.get("pods", "-l", "app=web")}
    space.kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=2")
    budget(space, 2, 0)
    drain = ("drain", "node-1", "--pod-selector=app=web")

    code, said = space.code(*drain, "--timeout=1s")
    assert code == 1
    assert "will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget." in said
    assert {each["metadata"]["name"] for each in space.get("pods", "-l", "app=web")} == before
    assert space.cluster.get("node", "node-1")["spec"]["unschedulable"] is True

    space.kubectl("patch", "pdb", "web", "-p", '{"spec": {"minAvailable": 0}}')
    budget(space, 2, 2)
    told = space.kubectl(*drain, "--dry-run=server")
    assert told.count("(server dry run)") >= 2
    assert {each["metadata"]["name"] for each in space.get("pods", "-l", "app=web")} == before
    budget(space, 2, 2)
    told = space.kubectl(*drain, "--timeout=30s")
    assert told.startswith("node/node-1 already cordoned\n")
    assert told.count(" evicted\n") == 2
    assert told.endswith("node/node-1 drained\n")
    assert not before & {each["metadata"]["name"] for each in space.get("pods", "-l", "app=web")}
    # Nothing fits on the node that they must be on.
    assert {each["status"]["phase"] for each in space.get("pods", "-l", "app=web")} == {"Pending"}


def test_a_drain_that_does_not_ask_budgets(space: Space) -> None:
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    space.kubectl("patch", "pdb", "web", "-p", '{"spec": {"minAvailable": 2}}')
    budget(space, 2, 0)
    told = space.kubectl("drain", "node-1", "--pod-selector=app=web", "--disable-eviction", "--timeout=30s")
    assert told.count(" deleted\n") == 2


def test_what_is_not_drained_unasked(space: Space) -> None:
    daemon = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "daemon"}}
    labels = {"app": "daemon"}
    where = {"nodeSelector": {"kubernetes.io/hostname": "node-2"}, "containers": [{"name": "main", "image": "a"}]}
    template = {"metadata": {"labels": labels}, "spec": where}
    space.apply(daemon | {"spec": {"selector": {"matchLabels": labels}, "template": template}})
    space.apply(pod("bare", "node-2", volumes=[{"name": "scratch", "emptyDir": {}}]))
    space.kubectl("rollout", "status", "daemonset/daemon", "--timeout=60s")
    chosen = "--pod-selector=app in (bare,daemon)"
    for code, said in (
        space.code("drain", "node-2", chosen),
        space.code("drain", "node-2", chosen, "--dry-run=client"),
    ):
        assert code == 1
        assert "cannot delete Pods with local storage (use --delete-emptydir-data to override): drains/bare" in said
        assert "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): drains/" in said
    told = space.kubectl("drain", "node-2", chosen, *FORCED, "--grace-period=1", "--timeout=30s")
    assert "Warning: deleting Pods that declare no controller: drains/bare; ignoring DaemonSet-managed Pods:" in told
    assert "node/node-2 drained" in told
    assert [each["metadata"]["labels"]["app"] for each in space.get("pods", "-l", "app in (bare,daemon)")] == ["daemon"]
    space.kubectl("delete", "daemonset", "daemon", "--cascade=foreground")


def test_cordons(simulated: LocalCluster) -> None:
    kubectl = simulated.kubectl
    assert kubectl("cordon", "node-1", "--dry-run=server") == "node/node-1 cordoned (server dry run)\n"
    assert "unschedulable" not in simulated.get("node", "node-1")["spec"]
    assert kubectl("cordon", "-l", "kubernetes.io/hostname=node-1") == "node/node-1 cordoned\n"
    assert kubectl("cordon", "node-1") == "node/node-1 already cordoned\n"
    assert kubectl("get", "nodes", "--field-selector=spec.unschedulable=true", "-o", "name") == "node/node-1\n"
    assert kubectl("uncordon", "node-1") == "node/node-1 uncordoned\n"
    assert kubectl("cordon", "none", check=False) == 'Error from server (NotFound): nodes "none" not found\n'


def test_taints(space: Space) -> None:
    kubectl = space.cluster.kubectl

    def taint(*effects: str, check: bool = True) -> str:
        return kubectl("taint", "nodes", "node-3", *effects, check=check)

    try:
        assert taint("k=v:NoSchedule", "l=:PreferNoSchedule") == "node/node-3 tainted\n"
        refused = taint("k=w:NoSchedule", check=False)
        assert refused == "error: node node-3 already has k taint(s) with same effect(s) and --overwrite is false\n"
        assert taint("k=w:NoSchedule", "--overwrite") == "node/node-3 modified\n"
        found = space.cluster.get("node", "node-3")["spec"]["taints"]
        assert {(each["key"], each.get("value", ""), each["effect"]) for each in found} == {
            ("k", "w", "NoSchedule"),
            ("l", "", "PreferNoSchedule"),
        }
        assert taint("k:NoSchedule-", "l-") == "node/node-3 untainted\n"
        assert taint("k:NoSchedule-", check=False) == 'error: taint "k:NoSchedule" not found\n'
        assert "invalid taint effect: Odd, unsupported taint effect" in taint("k=v:Odd", check=False)

        tolerated = [{"key": "gone", "operator": "Exists", "effect": "NoExecute"}]
        space.apply(pod("goes", "node-3"), pod("stays", "node-3", tolerations=tolerated))
        space.running("goes", "stays")
        taint("gone=yes:NoExecute")
        space.kubectl("wait", "pod/goes", "--for=delete", "--timeout=30s")
        assert space.get("pod", "stays")["status"]["phase"] == "Running"
    finally:
        left = space.cluster.get("node", "node-3")["spec"].get("taints", [])
        taint(*(f"{each['key']}:{each['effect']}-" for each in left), "none=:NoSchedule", "--overwrite")
        taint("none-")
    assert "taints" not in space.cluster.get("node", "node-3")["spec"]
