"""On which nodes a daemon set has pods, and how its pods are bound to them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lagging_world import Process, World
from stateful import daemon_set, node, pod, view

from orch.objects.cluster import Node
from orch.objects.node_affinity import selects
from orch.objects.pods import Pod, PodSpec
from orch.objects.scheme import DAEMON_SETS
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import Key
from orch_controllers.daemonset import placement
from orch_controllers.daemonset.placement import Fit, Placement
from orch_controllers.daemonset.pods import PodFactory, is_updated, target_of
from orch_controllers.daemonset.reconciler import DaemonSetReconciler

YES, STAYS, NO = Fit(True, True), Fit(False, True), Fit(False, False)


def spec(**fields: Any) -> PodSpec:
    return view({"containers": [], **fields}, PodSpec)


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": affinity}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def field(operator: str, *values: str) -> dict[str, Any]:
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"nodeSelector": {"disk": "ssd"}}, True),
        ({"nodeSelector": {"disk": "hdd"}}, False),
        ({"nodeSelector": {"gpu": ""}}, False),
        (required(), False),
        (required({}), False),
        (required(expression("disk", "In", "ssd", "hdd")), True),
        (required(expression("disk", "In", "hdd")), False),
        (required(expression("gpu", "In", "a")), False),
        (required(expression("disk", "NotIn", "hdd")), True),
        (required(expression("gpu", "NotIn", "a")), True),
        (required(expression("disk", "Exists")), True),
        (required(expression("disk", "DoesNotExist")), False),
        (required(expression("cores", "Gt", "7")), True),
        (required(expression("cores", "Gt", "8")), False),
        (required(expression("cores", "Lt", "9")), True),
        (required(expression("disk", "Gt", "7")), False),
        (required(expression("disk", "Like", "s")), False),
        (required(field("In", "node-1")), True),
        (required(field("NotIn", "node-1")), False),
        (required({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["node-1"]}]}), False),
        (required(expression("disk", "In", "hdd"), field("In", "node-1")), True),
        ({"nodeSelector": {"disk": "hdd"}, **required(field("In", "node-1"))}, False),
    ],
)
def test_nodes_are_selected_as_the_scheduler_selects_them(fields: dict[str, Any], expected: bool) -> None:
    assert selects(spec(**fields), "node-1", {"disk": "ssd", "cores": "8"}) is expected


@pytest.mark.parametrize(
    ("fields", "taints", "expected"),
    [
        ({}, [], YES),
        ({"nodeName": "node-1"}, [], YES),
        ({"nodeName": "node-2"}, [], NO),
        ({"nodeSelector": {"disk": "hdd"}}, [], NO),
        ({}, [("dedicated", "PreferNoSchedule")], YES),
        ({}, [("dedicated", "NoSchedule")], STAYS),
        ({}, [("dedicated", "NoExecute")], NO),
        ({"tolerations": [{"operator": "Exists"}]}, [("dedicated", "NoExecute")], YES),
        ({}, [("node.kubernetes.io/unschedulable", "NoSchedule")], YES),
        ({}, [("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/disk-pressure", "NoSchedule")], YES),
        ({}, [("node.kubernetes.io/unreachable", "NoExecute")], YES),
        ({}, [("node.kubernetes.io/unreachable", "NoSchedule")], STAYS),
        ({}, [("node.kubernetes.io/network-unavailable", "NoSchedule")], STAYS),
        ({"hostNetwork": True}, [("node.kubernetes.io/network-unavailable", "NoSchedule")], YES),
    ],
)
def test_a_node_runs_a_pod_that_fits_it_and_tolerates_its_taints(
    fields: dict[str, Any], taints: list[tuple[str, str]], expected: Fit
) -> None:
    assert placement.fit(spec(**fields), node("node-1", *taints, disk="ssd")) == expected


def item(found: Node, revision: int) -> Item[Node]:
    return Item("", found.metadata.name, "", revision, found.metadata.labels, None, b"", found)


def test_only_nodes_that_changed_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    fit = placement.fit

    def look(spec: PodSpec, found: Node) -> Fit:
        looked.append(found.metadata.name)
        return fit(spec, found)

    monkeypatch.setattr(placement, "fit", look)
    known, owner = Placement(), daemon_set()
    nodes = [item(node(f"node-{number}"), number) for number in range(3)]
    assert known.fits(owner, nodes) == dict.fromkeys(("node-0", "node-1", "node-2"), YES)
    changed = item(node("node-1", ("x", "NoExecute")), 7)
    assert known.fits(owner, [nodes[0], changed]) == {"node-0": YES, "node-1": NO}
    assert looked == ["node-0", "node-1", "node-2", "node-1"]
    other = msgspec.structs.replace(owner, metadata=msgspec.structs.replace(owner.metadata, generation=3))
    known.fits(other, [changed])
    assert looked[4:] == ["node-1"], "another generation has another template"


def test_a_pod_is_bound_by_affinity_to_its_node_and_keeps_the_rest_of_its_template() -> None:
    preferred = [{"weight": 1, "preference": expression("disk", "Exists")}]
    affinity = {
        "podAntiAffinity": {"x": 1},
        "nodeAffinity": {
            **required(field("In", "a"))["affinity"]["nodeAffinity"],
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        },
    }
    mine = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    owner = daemon_set(spec={"affinity": affinity, "tolerations": [mine, {"key": "x"}], "hostNetwork": True})
    annotated = {"deprecated.daemonset.template.generation": "7"}
    owner = msgspec.structs.replace(owner, metadata=msgspec.structs.replace(owner.metadata, annotations=annotated))
    body = PodFactory(owner, Placement().spec_of(owner), "abc").body("node-1")
    assert body["metadata"]["labels"] == {
        "app": "web",
        "controller-revision-hash": "abc",
        "pod-template-generation": "7",
    }
    assert body["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet"
    found = body["spec"]["affinity"]
    assert found["podAntiAffinity"] == {"x": 1}
    assert found["nodeAffinity"] == {
        **required(field("In", "node-1"))["affinity"]["nodeAffinity"],
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
    }
    tolerations = [(each["key"], each.get("effect")) for each in body["spec"]["tolerations"]]
    assert tolerations == [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("x", None),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ("node.kubernetes.io/network-unavailable", "NoSchedule"),
    ]


def test_a_pods_node_is_told_before_it_is_bound() -> None:
    unbound = view({"spec": required(field("In", "node-7"))}, Pod)
    assert target_of(unbound) == "node-7"
    assert target_of(pod("a", node="node-1")) == "node-1"
    assert target_of(view({"spec": {}}, Pod)) == ""
    assert target_of(view({"spec": required(field("In", "a", "b"))}, Pod)) == ""


def test_a_pod_is_of_the_template_by_its_hash_or_its_generation() -> None:
    owner = daemon_set()
    assert is_updated(owner, "new", pod("a", revision="new"))
    assert not is_updated(owner, "new", pod("a", revision="old"))
    annotated = {"deprecated.daemonset.template.generation": "3"}
    owner = msgspec.structs.replace(owner, metadata=msgspec.structs.replace(owner.metadata, annotations=annotated))
    assert is_updated(owner, "new", pod("a", labels={"pod-template-generation": "3"}))
    assert not is_updated(owner, "new", pod("a", labels={"pod-template-generation": "2"}))


def test_a_node_concerns_a_daemon_set_only_when_it_suits_it_otherwise_than_before() -> None:
    world = World()
    selector = {"selector": {"matchLabels": {"app": "agent"}}}
    spec = {**selector, "template": {"spec": {"nodeSelector": {"disk": "ssd"}, "containers": []}}}
    world.create(DAEMON_SETS, "default", {"metadata": {"name": "agent"}, "spec": spec})
    reconciler = DaemonSetReconciler(Process(world, [DAEMON_SETS]).context)

    def concerned(old: Node | None, new: Node | None) -> bool:
        before, after = (item(each, 1) if each is not None else None for each in (old, new))
        return list(reconciler.keys_of_node(Change(before, after))) == [Key("default", "agent")]

    fast, slow = node("node-1", disk="ssd"), node("node-1", disk="hdd")
    tainted = node("node-1", ("x", "NoExecute"), disk="ssd")
    assert concerned(None, fast)
    assert concerned(fast, None)
    assert concerned(fast, slow)
    assert concerned(fast, tainted)
    assert not concerned(None, slow)
    assert not concerned(fast, node("node-1", disk="ssd"))
    assert not concerned(slow, node("node-1", ("x", "NoExecute"), disk="hdd"))
    same = item(fast, 1)
    assert list(reconciler.keys_of_node(Change(same, same))) == [], "all are looked at again by themselves"
