"""No change after which a refused pod would fit leaves it parked, whatever the cluster, the pod and the change."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_clusters import NAMESPACES, Maker

from orch.clock import ManualClock
from orch.objects.cluster import Namespace, Node
from orch.objects.pods import Pod
from orch.runtime.informer import Change, Item
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.engine import Engine
from orch_scheduler.observed import Observed
from orch_scheduler.planning import refusal_of
from orch_scheduler.queue import PARKED, PodQueue


class Told:
    """Informers that show what they are told."""

    def __init__(self) -> None:
        self.handlers: dict[Any, list[Any]] = {}
        self.items: dict[tuple[Any, str, str], Item[Any]] = {}

    def of(self, kind):
        return Kind(self, kind.view)

    def show(self, view: type, document: dict[str, Any] | None, namespace: str, name: str) -> None:
        key = (view, namespace, name)
        old = self.items.pop(key, None)
        new = None
        if document is not None:
            found = msgspec.convert(document, view)
            labels = found.metadata.labels
            new = self.items[key] = Item(namespace, name, f"uid-{name}", len(self.items), labels, None, b"", found)
        for handler in self.handlers.get(view, ()):
            handler(Change(old, new))


class Kind:
    """One kind of them."""

    def __init__(self, told: Told, view: type) -> None:
        self.told, self.view = told, view

    def on_change(self, handler):
        self.told.handlers.setdefault(self.view, []).append(handler)

    def get(self, namespace, name):
        return self.told.items.get((self.view, namespace, name))


class World:
    """A random cluster as the scheduler sees it."""

    def __init__(self, seed: int, nodes: int, pods: int) -> None:
        self.make, self.told, clock = Maker(seed), Told(), ManualClock()
        self.columns, self.demands, self.queue = Columns(), Demands(), PodQueue(clock)
        Observed(self.told, self.columns, self.demands, self.queue, clock, ("default-scheduler",))
        for name, labels in NAMESPACES.items():
            self.namespace(name, labels)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.made = 0
        for number in range(nodes):
            self.node(number)
        for number in range(pods):
            self.bound(f"p{number}")

    def namespace(self, name: str, labels: dict[str, str]) -> None:
        self.told.show(Namespace, {"metadata": {"name": name, "labels": labels}}, "", name)

    def node(self, number: int) -> None:
        made = self.nodes[f"n{number}"] = self.make.node(number)
        self.told.show(Node, made, "", f"n{number}")

    def bound(self, name: str) -> None:
        made = self.pods[name] = self.make.pod(name)
        made["spec"]["nodeName"] = self.make.one(self.nodes)
        self.told.show(Pod, made, made["metadata"]["namespace"], name)

    def change(self) -> None:
        """Let one thing happen."""
        number = self.make.random.randint(0, len(self.nodes))
        name = self.make.one(self.pods) if self.pods else ""
        match self.make.random.randint(0, 9):
            case 0 | 1:
                self.node(number)  # another one, or one of another shape
            case 2:
                made = self.nodes.pop(self.make.one(self.nodes))
                self.told.show(Node, None, "", made["metadata"]["name"])
            case 3:
                self.part_of_a_node()
            case 4 | 5 if name:
                made = self.pods.pop(name)
                self.told.show(Pod, None, made["metadata"]["namespace"], name)
            case 6 if name:
                made = self.pods[name]
                made["metadata"] = {**made["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
                self.told.show(Pod, dict(made), made["metadata"]["namespace"], name)
            case 7 if name:
                made = self.pods[name]
                made["metadata"] = {**made["metadata"], "labels": self.make.metadata(name)["labels"]}
                self.told.show(Pod, dict(made), made["metadata"]["namespace"], name)
            case 8:
                self.namespace(self.make.one(NAMESPACES), self.make.one(({}, {"team": "x"}, {"team": "y"})))
            case _:
                self.made += 1
                self.bound(f"new{self.made}")

    def part_of_a_node(self) -> None:
        name = self.make.one(self.nodes)
        made, other = self.nodes[name], self.make.node(int(name[1:]))
        part = self.make.one(("metadata", "spec", "status"))
        self.nodes[name] = {**made, part: other[part]}
        self.told.show(Node, self.nodes[name], "", name)


@settings(
    max_examples=120,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**40), nodes=st.integers(1, 4), pods=st.integers(0, 8))
def test_a_pod_that_would_fit_is_awake(seed, nodes, pods):
    world, engine = World(seed, nodes, pods), Engine()
    for number in range(6):
        template = world.make.pod(f"waiting{number}")
        template["spec"]["schedulerName"] = "default-scheduler"
        world.told.show(Pod, template, template["metadata"]["namespace"], f"waiting{number}")
    refused = {}
    for waiting in world.queue.pop(6):
        (placement,) = engine.plan(world.columns.snapshot(), [waiting.demand])
        if not placement.node:
            refused[waiting.name] = refusal = refusal_of(waiting, placement)
            world.queue.park(waiting, refusal.wake, refusal.message, refusal.rules)
    for _ in range(6):
        if not world.nodes:
            return
        world.change()
        for name, refusal in refused.items():
            if world.queue.place(refusal.pod.uid) == PARKED:
                (placement,) = engine.plan(world.columns.snapshot(), [refusal.pod.demand])
                assert not placement.node, (name, refusal.message)
