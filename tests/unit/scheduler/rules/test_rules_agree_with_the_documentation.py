"""The engine against the oracle: random clusters, pods of every kind, the same nodes, words and points.

A case is a cluster and a pod. Each example is one cluster with a number of pods on it, and as many that ask.
"""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_clusters import NAMESPACES, Maker
from scheduling_oracle import Cluster

from orch.objects.cluster import Node
from orch.objects.meta import LabelSelector
from orch.objects.pods import Pod
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.engine import Engine

EXAMPLES = 420
ASKING = 25


def random_cluster(make: Maker, nodes: int, pods: int) -> tuple[Cluster, Columns, Demands]:
    """Return the cluster as dicts, and as the scheduler's columns."""
    listed = [make.node(number) for number in range(nodes)]
    placed = []
    for number in range(pods if nodes else 0):
        pod = make.pod(f"p{number}")
        pod["spec"]["nodeName"] = make.one(listed)["metadata"]["name"]
        if make.maybe(0.1):
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        placed.append(pod)
    cluster = Cluster(listed, placed, NAMESPACES, make.services(), make.owners())
    columns, demands = Columns(), Demands()
    for name, labels in NAMESPACES.items():
        columns.set_namespace(name, labels)
    for node in listed:
        columns.set_node(msgspec.convert(node, Node))
    for pod in placed:
        columns.place(pod["metadata"]["name"], pod["spec"]["nodeName"], demands.of(msgspec.convert(pod, Pod)))
    for service in cluster.services:
        columns.workloads.set_service("default", service["metadata"]["name"], service["spec"]["selector"])
    for (kind, namespace, name), selector in cluster.owners.items():
        columns.workloads.set_owner(kind, namespace, name, msgspec.convert(selector, LabelSelector))
    return cluster, columns, demands


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), nodes=st.integers(0, 8), pods=st.integers(0, 14))
def test_every_pod_gets_the_same_nodes_words_and_points(seed, nodes, pods):
    make = Maker(seed)
    cluster, columns, demands = random_cluster(make, nodes, pods)
    engine = Engine()
    for number in range(ASKING):
        document = make.pod(f"asking{number}")
        demand = demands.of(msgspec.convert(document, Pod))
        snapshot = columns.snapshot()
        placement = engine.plan(snapshot, [demand])[0]
        points = cluster.points(document)
        if not points:
            assert not placement.node
            assert placement.refusal.message == cluster.message(document)
            continue
        scored = engine.scored(snapshot, demand)
        assert {each.node: each.total for each in scored} == {
            node: sum(parts.values()) for node, parts in points.items()
        }, document
        assert scored[0].node == placement.node
        assert placement.feasible == len(points)
