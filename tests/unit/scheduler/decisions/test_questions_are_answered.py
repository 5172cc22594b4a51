"""Why, why not and what if, as the scheduler answers them on the bus."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.permissions import permissions_of
from orch.bus.subjects import scheduler_question
from orch.clock import ManualClock
from orch.errors import ApiError, NotFoundError
from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch.runtime.informer import Item
from orch_pb.v1 import question_pb2
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.engine import Engine
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.questions.desk import Desk
from orch_scheduler.questions.remedies import spoken
from orch_scheduler.questions.room import Room
from orch_scheduler.queue import PodQueue, Waiting

REPLIES = {
    "explain": (question_pb2.ExplainRequest, question_pb2.ExplainReply),
    "why-not": (question_pb2.WhyNotRequest, question_pb2.WhyNotReply),
    "what-if": (question_pb2.WhatIfRequest, question_pb2.WhatIfReply),
}


class Pods:
    """The informer of pods, as far as it is asked."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item[Pod]] = {}

    def get(self, namespace: str, name: str) -> Item[Pod] | None:
        return self.items.get((namespace, name))


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(clock=self.clock, permissions=permissions_of)
        self.bus = self.broker.connect("orch:admin")
        self.columns, self.demands, self.pods = Columns(), Demands(), Pods()
        self.queue = PodQueue(self.clock)
        room = Room("default-scheduler", "abc", Engine(), self.columns, self.demands, self.queue, self.pods, self.clock)
        self.desk = Desk(self.broker.connect("system:kube-scheduler"), {"default-scheduler": room})

    def node(self, name: str, cpu: str = "4", *, unschedulable: bool = False, taint: str = "", **labels: str) -> None:
        taints = [{"key": taint, "value": "x", "effect": "NoSchedule"}] if taint else []
        document = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
        }
        self.columns.set_node(msgspec.convert(document, Node))

    def pod(self, name: str, cpu: str, node: str = "", **spec: object) -> Pod:
        container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
        document = {
            "metadata": {"name": name, "namespace": "d", "uid": name},
            "spec": {"containers": [container], "nodeName": node, "schedulerName": "default-scheduler", **spec},
        }
        pod = msgspec.convert(document, Pod)
        self.pods.items["d", name] = Item("d", name, name, 1, {}, None, b"", pod)
        demand = self.demands.of(pod)
        if node:
            self.columns.place(name, node, demand)
        else:
            self.queue.put(Waiting(name, "d", name, 1, demand, None, self.clock.monotonic()))
        return pod

    async def ask(self, verb: str, **fields: object):
        request, reply = REPLIES[verb]
        subject = scheduler_question("default-scheduler", verb)
        answer = reply.FromString(await self.bus.request(subject, request(**fields).SerializeToString()))
        if answer.status:
            raise ApiError.decode(answer.status)
        return answer

    async def what_if(self, replicas: int, cpu: str, **spec: object):
        container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
        pod = {"metadata": {"name": "x", "namespace": "d"}, "spec": {"containers": [container], **spec}}
        return await self.ask("what-if", pod=json.dumps(pod).encode(), replicas=replicas)


@pytest.fixture
async def world():
    made = World()
    task = asyncio.ensure_future(made.desk.run())
    await asyncio.sleep(0.01)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_pending_pod_is_judged_as_it_would_be_now(world: World) -> None:
    world.node("small", "1")
    world.node("full", "4")
    world.node("tainted", "4", taint="dedicated")
    world.node("cordoned", "4", unschedulable=True)
    world.pod("there", "3", "full")
    world.pod("new", "2")
    (waiting,) = world.queue.pop(1)
    world.queue.park(waiting, Wake.NODE_ADDED | Wake.POD_REMOVED, "no", frozenset({"NodeResourcesFit"}))
    await world.clock.advance(10)
    reply = await world.ask("explain", namespace="d", name="new")
    assert (reply.place, reply.attempts, reply.waited, reply.retry) == ("unschedulable", 1, 10, 290)
    assert list(reply.wakes) == ["a node is added", "a pod leaves a node"]
    assert reply.now.message.startswith("0/4 nodes are available: ")
    assert {each.text for each in reply.remedies} == {
        "a larger node: 2 cpu asked, 1 cpu the most that one node has",
        "1 cpu more on one node",
        "tolerate dedicated=x:NoSchedule",
        "uncordon one node",
    }
    world.pod("gated", "1")
    assert (await world.ask("explain", namespace="d", name="gated")).place == "active"


async def test_who_asks_for_more_than_the_world_has_is_told_so(world: World) -> None:
    world.node("n", "2")
    world.pod("absurd", "1" + "0" * 30)
    reply = await world.ask("explain", namespace="d", name="absurd")
    assert [each.text for each in reply.remedies] == [
        "a larger node: an absurd amount of cpu asked, 2 cpu the most that one node has"
    ]


async def test_neighbours_in_the_way_are_told(world: World) -> None:
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "zone"}]
        }
    }
    world.node("n", zone="a")
    world.node("m", zone="b")
    world.pod("there", "1", "n")
    world.pod("unfriendly", "1", "m")
    world.pod("new", "1", affinity=apart)
    reply = await world.ask("explain", namespace="d", name="new")
    assert [each.text for each in reply.remedies] == ["without the pods that its anti-affinity means, any of 2 nodes"]


async def test_a_pod_that_is_somewhere_says_where(world: World) -> None:
    world.node("n")
    world.pod("there", "1", "n")
    assert (await world.ask("explain", namespace="d", name="there")).node == "n"
    with pytest.raises(NotFoundError, match='pods "nobody" not found'):
        await world.ask("explain", namespace="d", name="nobody")


async def test_why_not_names_every_rule(world: World) -> None:
    world.node("n", "1", taint="dedicated")
    world.node("m", zone="a")
    world.pod("p", "2", nodeSelector={"zone": "a"})
    reply = await world.ask("why-not", namespace="d", name="p", node="n")
    assert {each.rule for each in reply.refusals} == {"TaintToleration", "NodeAffinity", "NodeResourcesFit"}
    assert not reply.remedies  # three things stand in the way: no single change helps
    reply = await world.ask("why-not", namespace="d", name="p", node="m")
    assert not reply.refusals
    assert (reply.rank, reply.feasible, reply.score.node) == (1, 1, "m")
    with pytest.raises(NotFoundError, match='nodes "x" not found'):
        await world.ask("why-not", namespace="d", name="p", node="x")


async def test_a_pod_is_not_in_its_own_way(world: World) -> None:
    """Asked about another node, a pod that is somewhere is thought away from there."""
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "zone"}]
        }
    }
    world.node("n", zone="a")
    world.node("m", zone="a")
    world.pod("p", "2", "n", affinity=apart)
    assert not (await world.ask("why-not", namespace="d", name="p", node="m")).refusals


async def test_what_if_says_where_how_many_and_what_stops_the_next(world: World) -> None:
    for name in ("a", "b"):
        world.node(name, "4")
    reply = await world.what_if(3, "1500m")
    assert (reply.placed, reply.fit, reply.more, reply.nodes_total) == (3, 4, False, 2)
    assert sorted(each.pods for each in reply.nodes) == [1, 2]
    assert reply.next.message == "0/2 nodes are available: 2 Insufficient cpu."
    assert [each.nodes for each in reply.next.refusals] == [2]
    assert [each.text for each in reply.remedies] == ["500m cpu more on any of 2 nodes"]
    assert (await world.what_if(6, "1500m")).placed == 4
    assert world.columns.snapshot().requested[:, 0].sum() == 0


async def test_counting_ends_somewhere(world: World) -> None:
    document = {"metadata": {"name": "vast"}, "status": {"allocatable": {"cpu": "900000", "pods": "900000"}}}
    world.columns.set_node(msgspec.convert(document, Node))
    reply = await world.what_if(1, "1m")
    assert reply.more
    assert 1 <= reply.fit <= 5_000
    assert not reply.HasField("next")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"pod": b"{}", "replicas": 0}, "replicas: Invalid value: 0: must be between 1 and 1000"),
        ({"pod": b"{}", "replicas": 1001}, "must be between 1 and 1000"),
        ({"pod": b"[", "replicas": 1}, "the pod cannot be read"),
        (
            {"pod": b'{"spec":{"containers":[{"resources":{"requests":{"cpu":"x"}}}]}}', "replicas": 1},
            "quantit",
        ),
    ],
)
async def test_what_is_no_question_is_refused(world: World, fields, problem) -> None:
    with pytest.raises(ApiError, match=problem):
        await world.ask("what-if", **fields)


async def test_bytes_that_are_no_question_are_refused(world: World) -> None:
    answer = await world.bus.request(scheduler_question("default-scheduler", "explain"), b"\xff\xff")
    reply = question_pb2.ExplainReply.FromString(answer)
    assert "the question cannot be read" in str(ApiError.decode(reply.status))


@pytest.mark.parametrize(
    ("resource", "amount", "words"),
    [
        ("cpu", 2000, "2 cpu"),
        ("cpu", 250, "250m cpu"),
        ("memory", 3 << 29, "1.5Gi memory"),
        ("memory", 100, "100 bytes of memory"),
        ("pods", 1, "1 pod slot"),
        ("example.com/gpu", 2, "2 example.com/gpu"),
    ],
)
def test_amounts_are_spoken_as_people_write_them(resource, amount, words) -> None:
    assert spoken(resource, amount) == words
