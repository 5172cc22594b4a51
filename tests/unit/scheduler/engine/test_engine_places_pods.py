from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.objects.cluster import Taint
from orch_scheduler.columns import Columns
from orch_scheduler.engine import Engine


def plan(columns, *demands):
    return Engine().plan(columns.snapshot(), demands)


def test_replicas_spread_over_equal_nodes(columns, make_node, demand_of):
    for name in ("a", "b", "c"):
        columns.set_node(make_node(name))
    placements = plan(columns, *[demand_of(cpu="100m", memory="128Mi")] * 9)
    assert Counter(placement.node for placement in placements) == {"a": 3, "b": 3, "c": 3}


def test_the_emptier_node_is_preferred(columns, make_node, demand_of):
    columns.set_node(make_node("full"))
    columns.set_node(make_node("empty"))
    columns.place("other", "full", demand_of(cpu="2", memory="4Gi"))
    assert plan(columns, demand_of(cpu="1", memory="1Gi"))[0].node == "empty"


def test_a_plan_counts_its_own_placements(columns, make_node, demand_of):
    columns.set_node(make_node("only", cpu="1"))
    placements = plan(columns, *[demand_of(cpu="400m")] * 3)
    assert [placement.node for placement in placements] == ["only", "only", ""]
    assert placements[2].refusal.message == "0/1 nodes are available: 1 Insufficient cpu."


def test_the_snapshot_is_left_as_it_is(columns, make_node, demand_of):
    columns.set_node(make_node("a"))
    snapshot = columns.snapshot()
    before = snapshot.requested.copy()
    Engine().plan(snapshot, [demand_of(cpu="1")])
    assert np.array_equal(snapshot.requested, before)


def test_a_cordoned_node_takes_nothing(columns, make_node, demand_of):
    columns.set_node(make_node("a", unschedulable=True))
    refusal = plan(columns, demand_of())[0].refusal
    assert refusal.message == "0/1 nodes are available: 1 node(s) were unschedulable."


def test_a_taint_keeps_pods_off_that_do_not_tolerate_it(columns, make_node, demand_of):
    columns.set_node(make_node("a", taints=[Taint(key="dedicated", value="db", effect="NoSchedule")]))
    refusal = plan(columns, demand_of())[0].refusal
    assert refusal.message == "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    tolerant = demand_of({"tolerations": [{"key": "dedicated", "operator": "Exists"}]})
    assert plan(columns, tolerant)[0].node == "a"


def test_a_preference_taint_does_not_refuse(columns, make_node, demand_of):
    columns.set_node(make_node("a", taints=[Taint(key="x", effect="PreferNoSchedule")]))
    assert plan(columns, demand_of())[0].node == "a"


def test_node_selector_and_labels(columns, make_node, demand_of):
    columns.set_node(make_node("a", labels={"disk": "hdd"}))
    columns.set_node(make_node("b", labels={"disk": "ssd"}))
    assert plan(columns, demand_of({"nodeSelector": {"disk": "ssd"}}))[0].node == "b"
    columns.set_node(make_node("b", labels={"disk": "hdd"}))
    refusal = plan(columns, demand_of({"nodeSelector": {"disk": "ssd"}}))[0].refusal
    assert refusal.message == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["1", "2"], {"one", "two"}),
        ("NotIn", ["1"], {"two", "three", "none"}),
        ("Exists", [], {"one", "two", "three"}),
        ("DoesNotExist", [], {"none"}),
        ("Gt", ["1"], {"two", "three"}),
        ("Lt", ["3"], {"one", "two"}),
    ],
)
def test_required_node_affinity(columns, make_node, demand_of, operator, values, expected):
    for name, labels in (("one", {"n": "1"}), ("two", {"n": "2"}), ("three", {"n": "3"}), ("none", {})):
        columns.set_node(make_node(name, labels=labels, pods="1"))
    expression = {"key": "n", "operator": operator, "values": values}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    placements = plan(columns, *[demand_of({"affinity": affinity})] * 4)
    assert {placement.node for placement in placements if placement.node} == expected


def test_reasons_are_counted_and_sorted(columns, make_node, demand_of):
    columns.set_node(make_node("a", cpu="1", memory="1Gi"))
    columns.set_node(make_node("b", cpu="1"))
    columns.set_node(make_node("c", unschedulable=True))
    message = plan(columns, demand_of(cpu="2", memory="2Gi"))[0].refusal.message
    assert message == (
        "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu."
    )


def test_too_many_pods(columns, make_node, demand_of):
    columns.set_node(make_node("a", pods="1"))
    columns.place("other", "a", demand_of())
    assert plan(columns, demand_of())[0].refusal.message == "0/1 nodes are available: 1 Too many pods."


def test_without_nodes(columns, demand_of):
    assert plan(columns, demand_of())[0].refusal.message == "no nodes available to schedule pods"


def test_an_extended_resource_must_be_there(columns, make_node, demand_of):
    columns.set_node(make_node("a"))
    columns.set_node(make_node("b", extra={"example.com/gpu": "1"}))
    asking = demand_of({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]})
    first, second = plan(columns, asking, asking)
    assert first.node == "b"
    assert second.refusal.message == "0/2 nodes are available: 2 Insufficient example.com/gpu."


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nodes=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 32)), min_size=1, max_size=8),
    pods=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=40),
)
def test_no_node_is_overcommitted_and_nothing_is_refused_that_fits(make_node, demand_of, nodes, pods):
    columns = Columns()
    free = {}
    for number, (cpu, memory) in enumerate(nodes):
        columns.set_node(make_node(f"n{number}", cpu=str(cpu), memory=f"{memory}Gi"))
        free[f"n{number}"] = [cpu, memory]
    asked = [demand_of(cpu=str(cpu), memory=f"{memory}Gi") for cpu, memory in pods]
    for (cpu, memory), placement in zip(pods, Engine().plan(columns.snapshot(), asked), strict=True):
        if placement.node:
            room = free[placement.node]
            assert room[0] >= cpu
            assert room[1] >= memory
            room[0] -= cpu
            room[1] -= memory
        else:
            assert not any(room[0] >= cpu and room[1] >= memory for room in free.values())
