"""Moves are made one by one, each with a deadline; at the first that does not come up, no further one is begun."""

from __future__ import annotations

import json

import msgspec
import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.subjects import scheduler_question
from orch.clock import ManualClock
from orch.errors import NotFoundError, TooManyRequestsError
from orch_cli.rebalance_apply import MoveLimits, Mover, PodMove
from orch_cli.session import Session
from orch_pb.v1.question_pb2 import WhatIfReply, WhatIfRequest

OWNER = {"kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": True}


class Hurry(ManualClock):
    """Whoever sleeps has slept."""

    async def sleep(self, seconds: float) -> None:
        await self.advance(seconds)


class Cluster:
    """An API whose controller makes a successor on `target` for each pod that is evicted."""

    def __init__(self) -> None:
        self.pods: dict[str, dict] = {}
        self.nodes = dict.fromkeys(("a", "b", "c"), False)
        self.target = "c"
        self.ready = True
        self.refusals = 0
        self.evicted: list[dict] = []
        self.asked: list[dict] = []
        self.room = True

    def add(self, name: str, node: str) -> PodMove:
        state = "True" if self.ready else "False"
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": "d",
                "uid": f"uid-{name}",
                "ownerReferences": [OWNER],
                "creationTimestamp": f"2026-01-01T00:00:{len(self.pods):02}Z",
            },
            "spec": {"nodeName": node, "schedulerName": "default-scheduler", "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": state}]},
        }
        return PodMove("d", name, f"uid-{name}", "ReplicaSet/web", node, self.target)

    async def get(self, path: str, view):
        if path.startswith("/api/v1/nodes/"):
            node = path.rsplit("/", 1)[1]
            found = {"metadata": {"name": node}, "spec": {"unschedulable": self.nodes[node]}}
        elif path.endswith("/pods"):
            found = {"items": list(self.pods.values())}
        else:
            name = path.rsplit("/", 1)[1]
            if name not in self.pods:
                raise NotFoundError.of("pods", "", name)
            found = self.pods[name]
        return msgspec.json.decode(json.dumps(found), type=view)

    async def patch(self, path: str, patch: bytes) -> None:
        self.nodes[path.rsplit("/", 1)[1]] = bool(json.loads(patch)["spec"]["unschedulable"])

    async def create(self, path: str, body: bytes, view):
        assert path.endswith("/eviction")
        if self.refusals:
            self.refusals -= 1
            raise TooManyRequestsError("Cannot evict pod as it would violate the pod's disruption budget.")
        eviction = json.loads(body)
        self.evicted.append(eviction)
        del self.pods[eviction["metadata"]["name"]]
        self.add(f"{eviction['metadata']['name']}-new", self.target)
        return view(body)

    async def what_if(self, message) -> bytes:
        self.asked.append(json.loads(WhatIfRequest.FromString(message.data).pod))
        reply = WhatIfReply(placed=int(self.room))
        reply.next.message = "0/3 nodes are available: 3 Insufficient cpu."
        return reply.SerializeToString()


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def said():
    return []


@pytest.fixture
async def mover(cluster, said):
    bus = MemoryBroker().connect("orch:admin")
    await bus.serve(scheduler_question("default-scheduler", "what-if"), cluster.what_if)
    yield Mover(Session(bus, cluster, 1.0), said.append, MoveLimits(30, grace=0), Hurry())
    await bus.close()


async def test_nodes_are_emptied_and_stay_cordoned(cluster, mover, said):
    moves = [cluster.add("p", "a"), cluster.add("q", "b")]
    assert await mover.pack(moves, ("a", "b"), uncordon=False)
    assert cluster.nodes == {"a": True, "b": True, "c": False}
    assert {pod["spec"]["nodeName"] for pod in cluster.pods.values()} == {"c"}
    assert said[:2] == ["a cordoned", "b cordoned"]
    assert said[2].startswith("[1/2] d/p: a → c in ")
    assert said[-1] == "Empty nodes stay cordoned: a, b"
    (first, _) = cluster.evicted
    assert first["deleteOptions"] == {"preconditions": {"uid": "uid-p"}, "gracePeriodSeconds": 0}
    assert "nodeName" not in cluster.asked[0]["spec"]  # its successor is asked about, not itself


async def test_a_node_that_was_cordoned_before_stays_so(cluster, mover):
    cluster.nodes["a"] = True
    assert await mover.pack([cluster.add("p", "a")], ("a", "b"), uncordon=True)
    assert cluster.nodes == {"a": True, "b": False, "c": False}


async def test_without_room_nothing_is_evicted(cluster, mover, said):
    cluster.room = False
    assert not await mover.pack([cluster.add("p", "a")], ("a",), uncordon=False)
    assert cluster.evicted == []
    assert cluster.nodes["a"] is False
    assert "there is no room for its successor now: 0/3 nodes are available: 3 Insufficient cpu." in said[1]


async def test_a_successor_that_does_not_come_up_ends_it(cluster, mover, said):
    moves = [cluster.add("p", "a"), cluster.add("q", "b")]
    cluster.ready = False
    assert not await mover.pack(moves, ("a", "b"), uncordon=False)
    assert [each["metadata"]["name"] for each in cluster.evicted] == ["p"]
    assert said[2] == "[1/2] d/p: its successor is not ready after 30 s: p-new on c is Running"
    assert said[3] == "Stopped after 0 of 2 moves"
    assert not any(cluster.nodes.values())


async def test_a_disruption_budget_is_asked_again_until_the_deadline(cluster, mover, said):
    cluster.refusals = 1
    assert await mover.spread([cluster.add("p", "a")])
    cluster.refusals = 1000
    assert not await mover.spread([cluster.add("q", "b")])
    assert "it may not be evicted: Cannot evict pod" in "\n".join(said)
    assert "q" in cluster.pods
    assert not any(cluster.nodes.values())


async def test_who_has_left_already_is_passed_over(cluster, mover, said):
    gone = cluster.add("p", "a")
    del cluster.pods["p"]
    replaced = cluster.add("q", "b")
    cluster.pods["q"]["metadata"]["uid"] = "another"
    assert await mover.pack([gone, replaced], ("a",), uncordon=True)
    assert cluster.evicted == []
    assert any("d/p: already left a" in line for line in said)
    assert any("d/q: already left b" in line for line in said)
