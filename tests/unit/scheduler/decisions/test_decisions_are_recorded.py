"""Records of decisions: what is in them, and that nobody waits for them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.subjects import DECISIONS, JOURNAL, decision_subject
from orch.clock import ManualClock
from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch_pb.v1.decision_pb2 import Preemption, SchedulingDecision, Victim
from orch_pb.v1.object_pb2 import TraceContext
from orch_scheduler import decisions as module
from orch_scheduler.decisions import DROPPED, Decisions, Plan
from orch_scheduler.engine import Engine
from orch_scheduler.queue import Waiting
from orch_scheduler.records import Asked, encode
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recorded import RecordedColumns, RecordedDemands


class Desk:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(clock=self.clock)
        self.bus = self.broker.connect("system:kube-scheduler")
        self.journal = Journal(self.bus, self.clock)
        self.demands = RecordedDemands(self.journal)
        self.columns = RecordedColumns(self.journal, self.demands, ())
        self.decisions = Decisions(self.bus, self.clock, self.journal, self.demands)
        for name in ("n1", "n2", "n3"):
            document = {"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "pods": "10"}}}
            self.columns.set_node(msgspec.convert(document, Node))

    def pod(self, name: str, cpu: str, **more: object) -> Waiting:
        container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
        document = {"metadata": {"name": name, "namespace": "d"}, "spec": {"containers": [container]}}
        demand = self.demands.of(msgspec.convert(document, Pod))
        return Waiting(f"uid-{name}", "d", name, 1, demand, TraceContext(traceparent="00-a-b-01"), 0.0, **more)

    def plan(self, *pods: Waiting) -> None:
        self.columns.seen(77)
        snapshot = self.columns.snapshot()
        placements = Engine().plan(snapshot, [pod.demand for pod in pods])
        self.decisions.planned(Plan(pods, placements, snapshot, 3, "default-scheduler", "abc", 5, 0.002))

    async def newest(self, name: str) -> SchedulingDecision:
        async with asyncio.timeout(10):
            while True:
                if self.decisions.idle:
                    break
                await asyncio.sleep(0)
        stream = self.broker.streams["DECISIONS"]
        (message,) = stream.newest((decision_subject("scheduler", "d", name),))
        return SchedulingDecision.FromString(message.data)


@pytest.fixture
async def desk():
    made = Desk()
    await made.bus.ensure_stream(DECISIONS)
    await made.bus.ensure_stream(JOURNAL)
    async with asyncio.TaskGroup() as tasks:
        made.decisions.start(tasks)
        yield made
        for task in list(tasks._tasks):
            task.cancel()


async def test_a_placed_pods_record_has_all_of_its_parts(desk: Desk) -> None:
    desk.plan(desk.pod("a", "500m", attempts=2), desk.pod("b", "500m"))
    record = await desk.newest("b")
    assert (record.namespace, record.name, record.uid, record.place, record.batch) == ("d", "b", "uid-b", 1, 1)
    assert (record.profile, record.profile_hash, record.seed, record.revision) == ("default-scheduler", "abc", 5, 77)
    assert record.node in {"n1", "n2", "n3"}
    assert (record.feasible, record.nodes) == (3, 3)
    assert record.took == 1_000_000  # two pods in two milliseconds
    assert record.time == round(desk.clock.now().timestamp() * 1e6)
    assert record.term == desk.journal.term
    assert record.trace.traceparent == "00-a-b-01"
    assert len(record.best) == 3
    for each in record.best:
        assert each.total == pytest.approx(sum(part.share for part in each.parts))
    assert (await desk.newest("a")).attempts == 2


async def test_a_refused_pods_record_waits_for_its_message_and_its_victims(desk: Desk) -> None:
    desk.plan(desk.pod("big", "3"))
    assert desk.decisions.idle
    chosen = Preemption(node="n1", victims=[Victim(namespace="d", name="low", priority=-1)])
    desk.decisions.refused("uid-big", "0/3 nodes are available.", chosen.SerializeToString())
    record = await desk.newest("big")
    assert record.node == ""
    assert record.message == "0/3 nodes are available."
    assert [(each.name, each.priority) for each in record.preemption.victims] == [("low", -1)]
    assert [(each.rule, each.reason, each.nodes, list(each.names)) for each in record.refusals] == [
        ("NodeResourcesFit", "Insufficient cpu", 3, ["n1", "n2", "n3"])
    ]


async def test_who_does_not_fit_any_more_is_judged_with_those_before_it(desk: Desk) -> None:
    pods = [desk.pod(f"p{number}", "1500m") for number in range(4)]
    desk.plan(*pods)
    desk.decisions.refused("uid-p3", "no")
    assert [each.nodes for each in (await desk.newest("p0")).refusals] == []
    assert [each.nodes for each in (await desk.newest("p3")).refusals] == [3]


async def test_a_group_that_does_not_start_is_told_after_all(desk: Desk) -> None:
    desk.plan(desk.pod("member", "500m", group="d/g"))
    assert (await desk.newest("member")).message == ""
    desk.decisions.refused("uid-member", "only 1 of at least 2 pods of group d/g fit")
    assert (await desk.newest("member")).message == "only 1 of at least 2 pods of group d/g fit"


async def test_a_bus_that_does_not_keep_up_costs_records_and_never_time(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 10)
    before = DROPPED.labels("queue full")._value.get()
    for _ in range(5):
        desk.plan(*(desk.pod(f"x{number}", "1m") for number in range(4)))
    assert DROPPED.labels("queue full")._value.get() - before == 10
    await desk.newest("x0")
    desk.plan(desk.pod("later", "1m"))
    assert (await desk.newest("later")).name == "later"


async def test_records_are_published_again_when_the_bus_is_back(desk: Desk) -> None:
    desk.broker.stop()
    lost = DROPPED.labels("bus")._value.get()
    desk.plan(desk.pod("lost", "1m"))
    async with asyncio.timeout(10):
        while True:
            await asyncio.sleep(0)
            if DROPPED.labels("bus")._value.get() > lost:
                break
    desk.broker.start()
    desk.plan(desk.pod("kept", "1m"))
    await desk.clock.advance(2)
    assert (await desk.newest("kept")).name == "kept"


def test_pods_of_a_class_share_their_judgement() -> None:
    desk = Desk()
    pods = [desk.pod(f"p{number}", "10m") for number in range(20)] + [desk.pod("other", "20m")]
    placements = Engine().plan(desk.columns.snapshot(), [pod.demand for pod in pods])
    asked = [Asked(pod.namespace, pod.name, pod.uid) for pod in pods]
    records = encode(asked, placements, 3)
    assert len(records.judgements) == 2
    assert records.judged == [0] * 20 + [1]
    assert records == encode(asked, Engine().plan(desk.columns.snapshot(), [pod.demand for pod in pods]), 3)
