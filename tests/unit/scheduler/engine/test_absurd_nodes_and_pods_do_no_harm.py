"""Amounts and labels beyond all sense: a refusal with a reason or an error, and the next pod is placed."""

from __future__ import annotations

import pytest

from orch.objects.cluster import Taint
from orch_scheduler.engine import Engine

HUGE = "1e30"


def plan(columns, *demands):
    return Engine().plan(columns.snapshot(), demands)


def test_a_pod_that_asks_for_more_than_there_is_in_the_world(columns, make_node, demand_of):
    columns.set_node(make_node("n"))
    absurd, plain = plan(columns, demand_of(cpu=HUGE, memory=HUGE), demand_of(cpu="1"))
    assert absurd.refusal.message == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    assert plain.node == "n"


def test_such_a_pod_on_a_node_leaves_no_room_there(columns, make_node, demand_of):
    columns.set_node(make_node("full"))
    columns.set_node(make_node("free"))
    for number in range(100):
        columns.place(f"absurd{number}", "full", demand_of(cpu=HUGE, memory=HUGE))
    assert [placement.node for placement in plan(columns, demand_of(cpu="1"))] == ["free"]
    for number in range(100):
        columns.remove(f"absurd{number}")
    assert {placement.node for placement in plan(columns, *[demand_of(cpu="1")] * 2)} == {"full", "free"}


@pytest.mark.parametrize("amount", ["-1", "-1e30", "0"])
def test_a_node_with_less_than_nothing(columns, make_node, demand_of, amount):
    columns.set_node(make_node("odd", cpu=amount, memory=amount))
    asking, modest = plan(columns, demand_of(cpu="1", memory="1Gi"), demand_of())
    assert asking.refusal.message == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    assert modest.node == "odd"
    assert 0 <= modest.score <= 1200


def test_a_node_with_more_than_everything(columns, make_node, demand_of):
    columns.set_node(make_node("endless", cpu=HUGE, memory=HUGE, pods=HUGE))
    placements = plan(columns, *[demand_of(cpu="1000", memory="1Ti")] * 500)
    assert all(placement.node == "endless" for placement in placements)


def test_a_node_whose_quantity_is_none_stays_as_it_was(columns, make_node, demand_of):
    columns.set_node(make_node("n", cpu="4"))
    with pytest.raises(ValueError, match="quantities must match"):
        columns.set_node(make_node("n", cpu="many"))
    assert plan(columns, demand_of(cpu="4"))[0].node == "n"


def test_ten_thousand_labels(columns, make_node, demand_of):
    labels = {f"label-{number}": str(number) for number in range(10_000)}
    columns.set_node(make_node("many", labels=labels))
    columns.set_node(make_node("few", labels={"label-7": "7"}))
    assert plan(columns, demand_of({"nodeSelector": {"label-9999": "9999"}}))[0].node == "many"
    assert plan(columns, demand_of({"nodeSelector": dict(list(labels.items())[:500])}))[0].node == "many"
    columns.set_node(make_node("many", labels={}))
    assert plan(columns, demand_of({"nodeSelector": {"label-7": "7"}}))[0].node == "few"
    crowded = demand_of(labels=labels)
    columns.place("p", "few", crowded)
    term = {"labelSelector": {"matchLabels": {"label-5": "5"}}, "topologyKey": "label-7"}
    near = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    assert plan(columns, demand_of(near))[0].node == "few"


def test_a_thousand_taints(columns, make_node, demand_of):
    taints = [Taint(key=f"t{number}", effect="NoSchedule") for number in range(1_000)]
    columns.set_node(make_node("tainted", taints=taints))
    assert (
        plan(columns, demand_of())[0].refusal.message == "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    )
    assert plan(columns, demand_of({"tolerations": [{"operator": "Exists"}]}))[0].node == "tainted"


def test_more_nodes_and_groups_than_columns_are_kept_for(columns, make_node, demand_of):
    """Columns of groups and labels are forgotten and made again; nothing is forgotten with them."""
    for number in range(3):
        labels = {f"key-{key}": str(number) for key in range(1_100)}
        columns.set_node(make_node(f"n{number}", pods="5000", labels=labels))
    columns.place("p0", "n1", demand_of(labels={"app": "app-0"}))
    for number in range(1_100):
        term = {"labelSelector": {"matchLabels": {"app": f"app-{number}"}}, "topologyKey": f"key-{number}"}
        near = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
        node = plan(columns, demand_of(near))[0].node
        assert node == ("n1" if number == 0 else "")
    term = {"labelSelector": {"matchLabels": {"app": "app-0"}}, "topologyKey": "key-0"}
    away = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    assert plan(columns, demand_of(away))[0].node in {"n0", "n2"}
