"""Preemption over the real rules: the pod fits once the victims are gone, each is needed, and none outranks it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.clock import ManualClock
from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch_scheduler.columns import Columns
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.deciders import deciders_of
from orch_scheduler.demand import Demands
from orch_scheduler.preemption.nominations import Nominations
from orch_scheduler.preemption.preemptor import Preemptor
from orch_scheduler.queue import PodQueue
from orch_scheduler.waiting import Waiting

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
(DECIDER,) = deciders_of(SchedulerConfig()).by_name.values()


class Nothing:
    """An informer that has nothing."""

    def on_change(self, handler):
        self.handler = handler

    def indexed(self, index, value):
        return []


kinds = st.sampled_from(("plain", "plain", "port", "alone", "apart"))
pods = st.tuples(st.integers(0, 3), st.integers(0, 3), kinds, st.sampled_from(("a", "b")))
clusters = st.lists(st.tuples(st.integers(1, 6), st.lists(pods, max_size=5)), min_size=1, max_size=4)


def document(priority: int, cpu: int, kind: str, label: str) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "resources": {"requests": {"cpu": str(cpu)}}}
    spec: dict[str, Any] = {"priority": priority, "containers": [container]}
    if kind == "port":
        container["ports"] = [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    if kind in {"alone", "apart"}:
        term = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": HOST if kind == "alone" else ZONE}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return {"metadata": {"name": "p", "namespace": "d", "labels": {"app": label}}, "spec": spec}


class World:
    """A cluster, filled as far as its rules let it be."""

    def __init__(self, cluster) -> None:
        self.demands, self.columns = Demands(), Columns()
        self.where: dict[str, tuple[str, Any]] = {}
        for number, (capacity, _) in enumerate(cluster):
            self.columns.set_node(node(number, capacity))
        for number, (_, tenants) in enumerate(cluster):
            for place, each in enumerate(tenants):
                demand, name = self.demand(*each), f"n{number}"
                if not DECIDER.engine.judge(self.columns.snapshot(), demand, self.columns.row_of(name)):
                    self.where[f"{number}-{place}"] = (name, demand)
                    self.columns.place(f"{number}-{place}", name, demand, f"2026-01-01T00:00:{place:02}Z")

    def demand(self, *parts):
        return self.demands.of(msgspec.convert(document(*parts), Pod))

    def fits(self, cluster, demand, name: str, gone: set[str]) -> bool:
        """Build the cluster anew without some pods, and ask."""
        columns = Columns()
        for number, (capacity, _) in enumerate(cluster):
            columns.set_node(node(number, capacity))
        for uid, (here, tenant) in self.where.items():
            if uid not in gone:
                columns.place(uid, here, tenant)
        return not DECIDER.engine.judge(columns.snapshot(), demand, columns.row_of(name))


def node(number: int, capacity: int) -> Node:
    name = f"n{number}"
    labels = {HOST: name, ZONE: f"z{number % 2}"}
    amounts = {"cpu": str(capacity), "memory": "8Gi", "pods": "5"}
    return msgspec.convert({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts}}, Node)


@settings(max_examples=100)
@given(clusters, pods)
def test_victims_are_needed_and_enough(cluster, wanted):
    world = World(cluster)
    demand = world.demand(wanted[0] + 1, *wanted[1:])
    placement = DECIDER.engine.plan(world.columns.snapshot(), [demand])[0]
    if placement.node:
        return
    clock = ManualClock()
    queue, nominations = PodQueue(clock), Nominations(world.columns)
    preemptor = Preemptor(world.columns, queue, nominations, Nothing(), clock)
    for _, tenant in world.where.values():
        preemptor._priorities[tenant.priority] += 1
    pod = Waiting(uid="new", namespace="d", name="new", revision=1, demand=demand, trace=None, since=0.0)
    verdict = preemptor.preempt(DECIDER, pod)
    lower = {
        name: {uid for uid, (here, one) in world.where.items() if here == name and one.priority < demand.priority}
        for name in (f"n{number}" for number in range(len(cluster)))
    }
    possible = [name for name, uids in lower.items() if uids and world.fits(cluster, demand, name, uids)]
    if not verdict.node:
        assert possible == []
        return
    assert verdict.node in possible
    victims = {victim.uid for victim in verdict.victims}
    assert victims
    assert victims <= lower[verdict.node]
    assert world.fits(cluster, demand, verdict.node, victims)
    for spared in victims:
        assert not world.fits(cluster, demand, verdict.node, victims - {spared})
