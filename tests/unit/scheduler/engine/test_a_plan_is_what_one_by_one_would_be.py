"""Pods that are planned together go where they would have gone one at a time, whatever the classes and their order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_clusters import HOSTNAME, NAMESPACES, ZONE, Maker

from orch.objects.cluster import Node
from orch.objects.meta import LabelSelector
from orch.objects.pods import Pod
from orch_scheduler import profile_file
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.engine import Engine
from orch_scheduler.profiles import profiles_of

SOFTLY = settings(
    max_examples=120,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def random_columns(make, nodes, pods, demands):
    columns = Columns()
    for name, labels in NAMESPACES.items():
        columns.set_namespace(name, labels)
    names = []
    for number in range(nodes):
        node = make.node(number)
        names.append(node["metadata"]["name"])
        columns.set_node(msgspec.convert(node, Node))
    for service in make.services():
        columns.workloads.set_service("default", service["metadata"]["name"], service["spec"]["selector"])
    for (kind, namespace, name), selector in make.owners().items():
        columns.workloads.set_owner(kind, namespace, name, msgspec.convert(selector, LabelSelector))
    for number in range(pods if names else 0):
        columns.place(f"p{number}", make.one(names), demands.of(msgspec.convert(make.pod(f"p{number}"), Pod)))
    return columns


def one_by_one(columns, asked, seed, engine=None):
    placements = []
    for number, demand in enumerate(asked):
        placement = (engine or Engine(seed=seed)).plan(columns.snapshot(), [demand])[0]
        if placement.node:
            columns.place(f"asked{number}", placement.node, demand)
        placements.append(placement)
    return placements


def essence(placements):
    return [
        (placement.node, placement.feasible, placement.score, placement.refusal and placement.refusal.message)
        for placement in placements
    ]


@SOFTLY
@given(seed=st.integers(0, 2**32), nodes=st.integers(1, 9), pods=st.integers(0, 10), classes=st.integers(1, 5))
def test_random_classes_in_random_order(seed, nodes, pods, classes):
    make, demands = Maker(seed), Demands()
    columns = random_columns(make, nodes, pods, demands)
    templates = [demands.of(msgspec.convert(make.pod(f"t{number}"), Pod)) for number in range(classes)]
    asked = []
    while len(asked) < 24:
        asked += [make.one(templates)] * make.one((1, 1, 2, 5))
    together = Engine(seed=seed).plan(columns.snapshot(), asked)
    assert essence(together) == essence(one_by_one(columns, asked, seed))


def company(kind, key, *, required):
    term = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": key}
    if required:
        return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    weighted = [{"weight": 7, "podAffinityTerm": term}]
    return {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}


def spread(key, when, skew):
    selector = {"matchLabels": {"app": "a"}}
    constraint = {"topologyKey": key, "whenUnsatisfiable": when, "maxSkew": skew, "labelSelector": selector}
    return {"topologySpreadConstraints": [constraint]}


SPECS = [
    {},
    *(
        company(kind, key, required=required)
        for kind in ("podAffinity", "podAntiAffinity")
        for key in (HOSTNAME, ZONE)
        for required in (True, False)
    ),
    *(spread(key, when, 1) for key in (HOSTNAME, ZONE) for when in ("DoNotSchedule", "ScheduleAnyway")),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_class_that_concerns_itself_until_nothing_is_left(spec, make_node, demand_of):
    columns = Columns()
    for number in range(12):
        labels = {HOSTNAME: f"n{number}", ZONE: f"z{number % 3}"} if number != 11 else {}
        columns.set_node(make_node(f"n{number}", cpu=str(1 + number % 4), pods="6", labels=labels))
    asked = [demand_of(spec, cpu="300m", labels={"app": "a"})] * 70
    together = Engine().plan(columns.snapshot(), asked)
    assert essence(together) == essence(one_by_one(columns, asked, 0))


RESOURCES = [{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}, {"name": "example.com/gpu", "weight": 5}]
CURVE = {"shape": [{"utilization": 0, "score": 2}, {"utilization": 40, "score": 10}, {"utilization": 90, "score": 1}]}
STRATEGIES = [
    {"type": "LeastAllocated", "resources": RESOURCES},
    {"type": "MostAllocated", "resources": RESOURCES},
    {"type": "RequestedToCapacityRatio", "resources": RESOURCES, "requestedToCapacityRatio": CURVE},
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy["type"])
def test_whatever_the_strategy(strategy, make_node, demand_of):
    """Three resources, which not all nodes have: a node's points after a placement are those that all are given."""
    config = [
        {"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}},
        {"name": "NodeResourcesBalancedAllocation", "args": {"resources": RESOURCES}},
    ]
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    (profile,) = profiles_of(profile_file.parse({**head, "profiles": [{"pluginConfig": config}]}))
    columns = Columns()
    for number in range(9):
        extra = {"example.com/gpu": str(number % 3)} if number % 2 else {}
        memory = "0" if number == 8 else f"{1 + number % 4}Gi"
        columns.set_node(make_node(f"n{number}", cpu=str(1 + number % 3), memory=memory, extra=extra))
    small = demand_of(cpu="130m", memory="70Mi")
    gpu = demand_of({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1m", "example.com/gpu": "1"}}}]})
    nothing = demand_of()
    asked = [small, small, gpu, nothing, small, gpu, nothing, nothing, small] * 8
    together = profile.engine().plan(columns.snapshot(), asked)
    assert essence(together) == essence(one_by_one(columns, asked, 0, profile.engine()))


def test_an_equal_plan_comes_from_equal_columns_and_another_seed_shuffles_equals(make_node, demand_of):
    def planned(order, seed):
        columns = Columns()
        for number in order:
            columns.set_node(make_node(f"n{number}"))
        return [placement.node for placement in Engine(seed=seed).plan(columns.snapshot(), [demand_of(cpu="1")] * 8)]

    assert planned(range(16), 1) == planned(reversed(range(16)), 1)
    assert planned(range(16), 1) != planned(range(16), 2)
