import numpy as np

from orch.objects.cluster import Taint


def used(columns, name, column=0):
    snapshot = columns.snapshot()
    return int(snapshot.requested[snapshot.rows[name], column])


def test_pods_count_on_their_node_until_they_are_removed(columns, make_node, demand_of):
    columns.set_node(make_node("a"))
    columns.place("u", "a", demand_of(cpu="1"))
    columns.place("u", "a", demand_of(cpu="1"))
    assert used(columns, "a") == 1000
    assert columns.remove("u")
    assert used(columns, "a") == 0
    assert not columns.remove("u")


def test_a_pod_that_is_seen_before_its_node_counts_when_the_node_comes(columns, make_node, demand_of):
    columns.place("u", "late", demand_of(cpu="1"))
    columns.set_node(make_node("late"))
    assert used(columns, "late") == 1000


def test_a_pod_whose_node_left_and_returned_counts_again(columns, make_node, demand_of):
    columns.set_node(make_node("a"))
    columns.place("u", "a", demand_of(cpu="1"))
    columns.remove_node("a")
    assert columns.nodes == 0
    columns.set_node(make_node("b"))
    assert used(columns, "b") == 0
    columns.set_node(make_node("a"))
    assert used(columns, "a") == 1000


def test_a_row_is_used_again_without_what_its_former_node_carried(columns, make_node):
    columns.set_node(make_node("a", labels={"x": "1"}, taints=[Taint(key="t", effect="NoSchedule")]))
    columns.remove_node("a")
    columns.set_node(make_node("b"))
    snapshot = columns.snapshot()
    assert snapshot.size == 1
    assert not snapshot.topologies.of("x").domains[0]
    assert list(snapshot.taints) == []


def test_columns_grow(columns, make_node, demand_of):
    for number in range(300):
        columns.set_node(make_node(f"n{number}", labels={"zone": str(number % 3)}))
    columns.place("u", "n299", demand_of(cpu="1"))
    snapshot = columns.snapshot()
    assert int(snapshot.live.sum()) == 300
    zones = snapshot.topologies.of("zone")
    assert int((zones.domains[: snapshot.size] == zones.domain("1")).sum()) == 100
    assert used(columns, "n299") == 1000


def test_a_snapshot_does_not_follow_later_placements(columns, make_node, demand_of):
    columns.set_node(make_node("a"))
    snapshot = columns.snapshot()
    before = snapshot.requested.copy()
    columns.place("u", "a", demand_of(cpu="1"))
    assert np.array_equal(snapshot.requested, before)
