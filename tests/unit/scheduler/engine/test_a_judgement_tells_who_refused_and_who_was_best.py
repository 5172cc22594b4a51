"""What is told of a class: refusals by rule, the best nodes, each rule for one node, what preemption could change."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_clusters import NAMESPACES, Maker

from orch.objects.cluster import Node, Taint
from orch.objects.pods import Pod
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.engine import Engine, RuleCount


def judgement(columns, demand):
    return Engine().plan(columns.snapshot(), [demand])[0].judgement


def test_a_node_counts_for_the_first_rule_that_refuses_it(columns, make_node, demand_of):
    tainted = [Taint(key="t", effect="NoSchedule")]
    for number in range(5):
        columns.set_node(make_node(f"t{number}", taints=tainted, unschedulable=number == 4))
    columns.set_node(make_node("small", cpu="1"))
    columns.set_node(make_node("good", cpu="8"))
    found = judgement(columns, demand_of(cpu="2"))
    assert found.refused == (
        RuleCount("NodeUnschedulable", "node(s) were unschedulable", 1, ("t4",)),
        RuleCount("TaintToleration", "node(s) had untolerated taint(s)", 4, ("t0", "t1", "t2")),
        RuleCount("NodeResourcesFit", "Insufficient cpu", 1, ("small",)),
    )
    assert [each.node for each in found.best] == ["good"]


def test_the_three_best_with_the_parts_of_their_scores(columns, make_node, demand_of):
    for number, used in enumerate(("0", "1", "2", "3")):
        columns.set_node(make_node(f"n{number}"))
        columns.place(f"p{number}", f"n{number}", demand_of(cpu=used))
    placement = Engine().plan(columns.snapshot(), [demand_of(cpu="500m")])[0]
    best = placement.judgement.best
    assert [each.node for each in best] == ["n0", "n1", "n2"]
    assert best[0].node == placement.node
    assert best[0].total == placement.score
    for each in best:
        assert sum(share for _, share in each.parts) == each.total


def test_pods_of_one_class_share_their_judgement(columns, make_node, demand_of):
    columns.set_node(make_node("n", cpu="1"))
    placements = Engine().plan(columns.snapshot(), [demand_of(cpu="400m")] * 3)
    assert placements[0].judgement is placements[1].judgement
    assert placements[2].judgement.refused == (RuleCount("NodeResourcesFit", "Insufficient cpu", 1, ("n",)),)
    assert [placement.feasible for placement in placements] == [1, 1, 0]


def test_every_rule_that_refuses_one_node(columns, make_node, demand_of):
    columns.set_node(make_node("n", cpu="1", unschedulable=True, taints=[Taint(key="t", effect="NoExecute")]))
    snapshot = columns.snapshot()
    refusals = Engine().judge(snapshot, demand_of({"nodeSelector": {"a": "b"}}, cpu="2"), snapshot.rows["n"])
    assert [refusal.rule for refusal in refusals] == [
        "NodeUnschedulable",
        "TaintToleration",
        "NodeAffinity",
        "NodeResourcesFit",
    ]


def test_preemption_cannot_help_where_even_an_empty_node_is_too_small(columns, make_node, demand_of):
    columns.set_node(make_node("small", cpu="1"))
    columns.set_node(make_node("full", cpu="4"))
    columns.set_node(make_node("cordoned", cpu="4", unschedulable=True))
    columns.set_node(make_node("free", cpu="4"))
    columns.place("p", "full", demand_of(cpu="3"))
    snapshot = columns.snapshot()
    mask = Engine().candidates(snapshot, demand_of(cpu="2"))
    assert [name for name in snapshot.names if mask[snapshot.rows[name]]] == ["full"]


@pytest.mark.parametrize("node", ["named", "other"])
def test_a_pod_that_names_its_node(columns, make_node, demands, node):
    columns.set_node(make_node("named"))
    document = {"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": [{"name": "c"}]}}
    pod = msgspec.convert(document, Pod)
    assert Engine().plan(columns.snapshot(), [demands.of(pod)])[0].node == "named"
    pinned = Engine().plan(columns.snapshot(), [demands.of(pod, pinned=True)])[0]
    if node == "named":
        assert pinned.node == "named"
    else:
        words = "0/1 nodes are available: 1 node(s) didn't match the requested node name."
        assert pinned.refusal.message == words


@settings(
    max_examples=80,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), nodes=st.integers(1, 5), pods=st.integers(1, 12))
def test_what_would_be_without_some_pods_is_what_is_once_they_are_gone(seed, nodes, pods):
    make, demands, columns = Maker(seed), Demands(), Columns()
    for name, labels in NAMESPACES.items():
        columns.set_namespace(name, labels)
    for number in range(nodes):
        columns.set_node(msgspec.convert(make.node(number), Node))
    where = {}
    for number in range(pods):
        where[f"p{number}"] = f"n{make.random.randrange(nodes)}"
        demand = demands.of(msgspec.convert(make.pod(f"p{number}"), Pod))
        columns.place(f"p{number}", where[f"p{number}"], demand)
    engine = Engine()
    for number in range(6):
        demand = demands.of(msgspec.convert(make.pod(f"asking{number}"), Pod))
        snapshot = columns.snapshot()
        candidates = engine.candidates(snapshot, demand)
        node = f"n{make.random.randrange(nodes)}"
        row = snapshot.rows[node]
        on_node = [uid for uid, place in where.items() if place == node]
        gone = make.some(on_node, 3)
        expected = engine.without(snapshot, demand, row, gone)
        less = snapshot.less(row, gone)
        assert (not Engine().judge(less, demand, row)) == expected
        if expected and engine.judge(snapshot, demand, row):
            assert candidates[row]
