"""Hints look at the very object that changed."""

from __future__ import annotations

import pytest

from orch.objects.cluster import Taint
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.hints import Happening, event_of, helps

FIT, AFFINITY, TAINTS = ["NodeResourcesFit"], ["NodeAffinity"], ["TaintToleration"]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
NEIGHBOURS, UNSCHEDULABLE, SPREAD = ["InterPodAffinity"], ["NodeUnschedulable"], ["PodTopologySpread"]


@pytest.fixture
def node(make_node):
    return make_node


def test_a_node_that_is_large_enough_helps_who_lacks_room(demand_of, node):
    demand = demand_of(cpu="4")
    assert helps(FIT, demand, Wake.NODE_ADDED, Happening(node=node("n", cpu="4")))
    assert not helps(FIT, demand, Wake.NODE_ADDED, Happening(node=node("n", cpu="3")))


def test_a_node_helps_who_lacks_room_when_it_has_more_of_what_is_asked_for(demand_of, node):
    demand = demand_of(cpu="4")
    small, large = node("n", cpu="4"), node("n", cpu="8")
    assert helps(FIT, demand, Wake.NODE_ALLOCATABLE, Happening(old=small, node=large))
    assert not helps(FIT, demand, Wake.NODE_ALLOCATABLE, Happening(old=large, node=small))
    more_memory = node("n", cpu="4", memory="64Gi")
    assert not helps(FIT, demand, Wake.NODE_ALLOCATABLE, Happening(old=small, node=more_memory))


def test_labels_and_taints_of_nodes_do_not_help_who_lacks_room(demand_of, node):
    about = Happening(old=node("n"), node=node("n", cpu="64", labels={"a": "b"}))
    assert not helps(FIT, demand_of(cpu="4"), Wake.NODE_LABELS, about)
    assert not helps(FIT, demand_of(cpu="4"), Wake.NODE_TAINTS, about)


def test_a_pod_that_left_helps_if_it_leaves_enough(demand_of):
    demand = demand_of(cpu="4")
    assert helps(FIT, demand, Wake.POD_REMOVED, Happening(pod=demand, room=lambda _: True))
    assert not helps(FIT, demand, Wake.POD_REMOVED, Happening(pod=demand, room=lambda _: False))
    assert not helps(FIT, demand, Wake.POD_ADDED, Happening(pod=demand, room=lambda _: True))


def test_labels_that_the_pod_looks_at_help(demand_of, node):
    demand = demand_of({"nodeSelector": {"disk": "ssd"}})
    before, after = node("n"), node("n", labels={"disk": "ssd"})
    assert helps(AFFINITY, demand, Wake.NODE_LABELS, Happening(old=before, node=after))
    assert not helps(AFFINITY, demand, Wake.NODE_LABELS, Happening(old=after, node=before))
    other = node("n", labels={"disk": "ssd", "new": "label"})
    assert not helps(AFFINITY, demand, Wake.NODE_LABELS, Happening(old=after, node=other))
    assert not helps(AFFINITY, demand, Wake.NODE_ALLOCATABLE, Happening(old=after, node=after))


def test_a_node_without_intolerable_taints_helps(demand_of, node):
    taint = Taint(key="k", value="v", effect="NoSchedule")
    soft = Taint(key="k", value="v", effect="PreferNoSchedule")
    assert helps(TAINTS, demand_of(), Wake.NODE_TAINTS, Happening(old=node("n"), node=node("n", taints=[soft])))
    assert not helps(TAINTS, demand_of(), Wake.NODE_TAINTS, Happening(old=node("n"), node=node("n", taints=[taint])))


def test_a_node_that_is_not_cordoned_helps(demand_of, node):
    assert helps(UNSCHEDULABLE, demand_of(), Wake.NODE_TAINTS, Happening(node=node("n")))
    assert not helps(UNSCHEDULABLE, demand_of(), Wake.NODE_TAINTS, Happening(node=node("n", unschedulable=True)))


def affine(kind):
    term = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def test_a_pod_that_is_looked_for_helps(demand_of):
    demand, db = demand_of(affine("podAffinity")), demand_of(labels={"app": "db"})
    assert helps(NEIGHBOURS, demand, Wake.POD_ADDED, Happening(pod=db))
    assert not helps(NEIGHBOURS, demand, Wake.POD_ADDED, Happening(pod=demand_of()))
    assert not helps(NEIGHBOURS, demand, Wake.POD_REMOVED, Happening(pod=db))


def test_a_pod_that_was_in_the_way_helps_by_leaving(demand_of):
    demand, db = demand_of(affine("podAntiAffinity")), demand_of(labels={"app": "db"})
    assert helps(NEIGHBOURS, demand, Wake.POD_REMOVED, Happening(pod=db))
    assert helps(NEIGHBOURS, db, Wake.POD_REMOVED, Happening(pod=demand))
    assert not helps(NEIGHBOURS, demand, Wake.POD_REMOVED, Happening(pod=demand_of()))


def test_a_node_that_goes_helps_whom_its_pods_or_its_zone_kept_out(demand_of, node):
    gone = Happening(old=node("n"))
    assert helps(NEIGHBOURS, demand_of(), Wake.NODE_REMOVED, gone)
    assert helps(SPREAD, demand_of(), Wake.NODE_REMOVED, gone)
    for rules in (FIT, AFFINITY, TAINTS, UNSCHEDULABLE):
        assert not helps(rules, demand_of(cpu="4"), Wake.NODE_REMOVED, gone)


def test_the_last_of_pods_that_must_be_together_helps_by_leaving(demand_of):
    """Where there is none of them any more, the first may go anywhere."""
    near = {"podAffinity": {REQUIRED: [{"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "zone"}]}}
    alike, other = demand_of({"affinity": near}, labels={"app": "a"}), demand_of({"affinity": near})
    left = Happening(pod=demand_of(labels={"app": "a"}))
    assert helps(NEIGHBOURS, alike, Wake.POD_REMOVED, left)
    assert not helps(NEIGHBOURS, other, Wake.POD_REMOVED, left)


def test_pods_of_other_namespaces_do_not_help_against_spread(demand_of):
    assert helps(SPREAD, demand_of(), Wake.POD_REMOVED, Happening(pod=demand_of(cpu="1")))
    assert not helps(SPREAD, demand_of(), Wake.POD_REMOVED, Happening(pod=demand_of(namespace="other")))


def test_a_rule_without_a_hint_is_helped_by_what_it_names(demand_of):
    assert helps(["Own"], demand_of(), Wake.POD_ADDED, Happening())
    assert helps([], demand_of(), Wake.POD_ADDED, Happening())
    assert event_of(Wake.POD_REMOVED) == "AssignedPodDelete"
