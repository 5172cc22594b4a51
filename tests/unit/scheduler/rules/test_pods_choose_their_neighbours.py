"""Required pod affinity and anti-affinity, over any label of nodes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch_scheduler.columns import Columns
from orch_scheduler.engine import FILTERS, Engine
from orch_scheduler.filters.neighbours import InterPodAffinity

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


def term(app, key=HOST, **more):
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def near(*terms):
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def away(*terms):
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def plan(columns, *demands):
    return [placement.node for placement in Engine().plan(columns.snapshot(), demands)]


def refusal(columns, demand):
    return Engine().plan(columns.snapshot(), [demand])[0].refusal.message


@pytest.fixture
def cluster(columns, make_node):
    """Two zones of two nodes, and one node that is in none."""
    for name, zone in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b"), ("lost", "")):
        columns.set_node(make_node(name, labels={HOST: name} | ({ZONE: zone} if zone else {})))
    return columns


def test_one_a_host(cluster, demand_of):
    alone = demand_of(away(term("web")), labels={"app": "web"})
    assert sorted(plan(cluster, *[alone] * 6)) == ["", "a1", "a2", "b1", "b2", "lost"]


def test_one_a_zone_and_nodes_without_a_zone_are_free(cluster, demand_of):
    alone = demand_of(away(term("web", ZONE)), labels={"app": "web"})
    placed = [node for node in plan(cluster, *[alone] * 9) if node]
    assert Counter(node[0] for node in placed if node != "lost") == {"a": 1, "b": 1}
    assert "lost" in placed


def test_whoever_is_there_may_refuse(cluster, demand_of):
    for node in ("a1", "b1"):
        cluster.place(node, node, demand_of(away(term("noisy", ZONE)), labels={"app": "quiet"}))
    noisy, other = demand_of(labels={"app": "noisy"}), demand_of(labels={"app": "other"})
    assert plan(cluster, noisy) == ["lost"]
    assert len(set(plan(cluster, *[other] * 10))) == 5
    cluster.remove_node("lost")
    words = "0/4 nodes are available: 4 node(s) didn't satisfy existing pods anti-affinity rules."
    assert refusal(cluster, noisy) == words
    cluster.remove("a1")
    assert plan(cluster, noisy)[0] in {"a1", "a2"}


def test_beside_those_who_are_meant(cluster, demand_of):
    friend = demand_of(near(term("db", ZONE)), labels={"app": "web"})
    assert refusal(cluster, friend) == "0/5 nodes are available: 5 node(s) didn't match pod affinity rules."
    cluster.place("db", "b2", demand_of(labels={"app": "db"}))
    assert set(plan(cluster, *[friend] * 8)) == {"b1", "b2"}


def test_the_first_of_a_kind_that_keeps_together_goes_where_the_label_is(cluster, demand_of):
    together = demand_of(near(term("web", ZONE)), labels={"app": "web"})
    zones = {node[0] for node in plan(cluster, *[together] * 8)}
    assert zones in ({"a"}, {"b"})


def test_all_terms_must_mean_the_same_pod(cluster, demand_of):
    cluster.place("x", "a1", demand_of(labels={"app": "x"}))
    cluster.place("y", "a1", demand_of(labels={"app": "y"}))
    both = demand_of(near(term("x"), term("y")))
    assert plan(cluster, both) == [""]


def test_only_the_own_namespace_is_meant_unless_others_are_named(cluster, demand_of):
    cluster.place("db", "a1", demand_of(labels={"app": "db"}, namespace="there"))
    cluster.set_namespace("there", {"team": "data"})
    assert plan(cluster, demand_of(near(term("db")))) == [""]
    assert plan(cluster, demand_of(near(term("db", namespaces=["there"])))) == ["a1"]
    by_team = {"namespaceSelector": {"matchLabels": {"team": "data"}}}
    assert plan(cluster, demand_of(near(term("db", **by_team)))) == ["a1"]
    assert plan(cluster, demand_of(near(term("db", namespaceSelector={})))) == ["a1"]
    cluster.set_namespace("there", {"team": "other"})
    assert plan(cluster, demand_of(near(term("db", **by_team)))) == [""]


def test_a_term_without_a_selector_means_nobody(cluster, demand_of):
    cluster.place("db", "a1", demand_of(labels={"app": "db"}))
    nobody = {"topologyKey": HOST}
    assert plan(cluster, demand_of(away(nobody), labels={"app": "db"})) != [""]
    assert plan(cluster, demand_of(near(nobody))) == [""]


def test_a_pod_that_changes_its_labels_counts_as_what_it_is(cluster, demand_of):
    cluster.place("p", "a1", demand_of(labels={"app": "old"}))
    cluster.place("p", "a1", demand_of(labels={"app": "db"}))
    assert plan(cluster, demand_of(near(term("db")))) == ["a1"]
    assert plan(cluster, demand_of(near(term("old")))) == [""]


APPS = ("x", "y", "z")
PODS = st.lists(
    st.tuples(
        st.sampled_from(APPS),
        st.lists(st.tuples(st.sampled_from(APPS), st.sampled_from([HOST, ZONE])), max_size=2),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pods=PODS)
def test_nobody_is_near_whom_he_refuses(pods, make_node, demands, demand_of):
    """Checked pair by pair, without any of the engine's means."""
    columns = Columns()
    where = {"a1": "a", "a2": "a", "b1": "b", "lost": ""}
    labels = {name: {HOST: name} | ({ZONE: zone} if zone else {}) for name, zone in where.items()}
    for name in where:
        columns.set_node(make_node(name, labels=labels[name]))
    asked = [demand_of(away(*(term(app, key) for app, key in terms)), labels={"app": own}) for own, terms in pods]
    placed = [(pod, node) for pod, node in zip(pods, plan(columns, *asked), strict=True) if node]

    def bear(one, other):
        (_, terms), node = one
        (app, _), place = other
        shared = {key for key, value in labels[node].items() if labels[place].get(key) == value}
        return not any(app == refused and key in shared for refused, key in terms)

    assert all(bear(one, other) for one in placed for other in placed if one is not other)


def test_the_rule_can_be_left_out(cluster, demand_of):
    filters = [rule for rule in FILTERS if not isinstance(rule, InterPodAffinity)]
    alone = demand_of(away(term("web")), labels={"app": "web"})
    assert all(placement.node for placement in Engine(filters).plan(cluster.snapshot(), [alone] * 20))
