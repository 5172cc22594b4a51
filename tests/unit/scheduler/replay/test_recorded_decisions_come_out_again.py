"""What a leader records is computed again from the journal, to the last byte."""

from __future__ import annotations

import asyncio
import os
import random

import msgspec
import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Message, Signal
from orch.bus.subjects import DECISIONS, JOURNAL, decisions_of, journal_of
from orch.clock import ManualClock
from orch.errors import OrchError
from orch.objects.cluster import Node, Taint
from orch.objects.meta import LabelSelector
from orch.objects.pods import Pod
from orch_pb.v1.decision_pb2 import SchedulingDecision
from orch_pb.v1.journal_pb2 import JournalChunk, JournalEntries
from orch_scheduler.decisions import Decisions, Plan
from orch_scheduler.profile_file import API_VERSION, KIND, Plugin, PluginConfig, Plugins, PluginSet, ProfileShape
from orch_scheduler.profile_file import File as ProfileFile
from orch_scheduler.profiles import Profile, default_profile, profiles_of
from orch_scheduler.queue import Waiting
from orch_scheduler.replay import journal as journal_module
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recompute import Replay, core
from orch_scheduler.replay.recorded import RecordedColumns, RecordedDemands

HUNDRED_THOUSAND = int(os.environ.get("ORCH_REPLAY_DECISIONS", "100000"))


class World:
    """A scheduler's memory without the scheduler: columns that are told and plans that are made."""

    def __init__(self, seed: int = 1, profile: Profile | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a test wants the same numbers again
        self.clock = ManualClock()
        self.broker = MemoryBroker(clock=self.clock)
        self.bus = self.broker.connect("system:kube-scheduler")
        self.journal = Journal(self.bus, self.clock)
        self.demands = RecordedDemands(self.journal)
        self.profile = profile or default_profile()
        self.columns = RecordedColumns(self.journal, self.demands, (self.profile,))
        self.decisions = Decisions(self.bus, self.clock, self.journal, self.demands)
        self.engine = self.profile.engine()
        self.count = 0
        self.placed: list[str] = []

    def node(self, name: str, **labels: str) -> None:
        taints = (Taint(key="dedicated", value="gpu", effect="NoSchedule"),) if self.random.random() < 0.1 else ()
        amounts = {"cpu": str(self.random.choice((4, 8, 16))), "memory": "32Gi", "pods": "110"}
        document = {
            "metadata": {"name": name, "labels": {"zone": f"z{self.random.randrange(3)}", **labels}},
            "spec": {"taints": [msgspec.to_builtins(taint) for taint in taints]},
            "status": {"allocatable": amounts},
        }
        self.columns.set_node(msgspec.convert(document, Node))

    def pods(self, count: int, **spec: object) -> list[Waiting]:
        """Return new pods of one class."""
        container = {"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
        document = {
            "metadata": {"name": "any", "namespace": "d", "labels": {"app": "a"}},
            "spec": {"containers": [container], **spec},
        }
        demand = self.demands.of(msgspec.convert(document, Pod))
        names = [f"p{self.count + number}" for number in range(count)]
        self.count += count
        return [Waiting(f"uid-{name}", "d", name, 1, demand, None, 0.0) for name in names]

    def plan(self, pods: list[Waiting]) -> None:
        self.columns.seen(self.count)
        snapshot = self.columns.snapshot()
        placements = self.engine.plan(snapshot, [pod.demand for pod in pods])
        self.decisions.planned(
            Plan(pods, placements, snapshot, self.columns.nodes, self.profile.name, self.profile.hash, 0, 0.001)
        )
        for pod, placement in zip(pods, placements, strict=True):
            if placement.node:
                self.columns.place(pod.uid, placement.node, pod.demand)
                self.placed.append(pod.uid)
            else:
                self.decisions.refused(pod.uid, "no")

    def leave(self, count: int) -> None:
        for _ in range(min(count, len(self.placed))):
            self.columns.remove(self.placed.pop(self.random.randrange(len(self.placed))))

    async def settle(self) -> None:
        """Let the writers write all that there is."""
        async with asyncio.timeout(30):
            while True:
                await self.clock.advance(0.3)
                await asyncio.sleep(0.001)
                if (self.journal.idle and self.decisions.idle) or not self.broker.running:
                    break

    async def chunks(self) -> list[JournalChunk]:
        return [JournalChunk.FromString(data) for data in await self._all(JOURNAL.name, journal_of("scheduler"))]

    async def published(self) -> list[bytes]:
        return await self._all(DECISIONS.name, decisions_of("scheduler"))

    async def _all(self, stream: str, subject: str) -> list[bytes]:
        found = []
        async for message in self.bus.follow(stream, [subject]):
            if isinstance(message, Message):
                found.append(message.data)
            elif message is Signal.SYNCED:
                break
        return found


@pytest.fixture
def profile() -> Profile:
    return default_profile()


@pytest.fixture
async def world(profile):
    made = World(profile=profile)
    await made.bus.ensure_stream(JOURNAL)
    await made.bus.ensure_stream(DECISIONS)
    tasks = asyncio.TaskGroup()
    async with tasks:
        for number in range(20):
            made.node(f"n{number}")
        made.decisions.start(tasks)
        await made.settle()
        yield made
        for task in list(tasks._tasks):
            task.cancel()


NEIGHBOURLY = {
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
}


async def churn(world: World, rounds: int) -> None:
    for turn in range(rounds):
        world.plan(world.pods(30) + world.pods(10, priority=turn % 3) + world.pods(2, **NEIGHBOURLY))
        world.plan(world.pods(3, nodeSelector={"zone": "z9"}))
        world.leave(20)
        if turn % 5 == 4:
            world.columns.remove_node(f"n{turn % 20}")
        if turn % 4 == 3:
            world.columns.workloads.set_service("d", f"s{turn % 3}", {"app": "a"} if turn % 8 == 3 else None)
            world.columns.workloads.set_owner("ReplicaSet", "d", "r", LabelSelector(match_labels={"turn": str(turn)}))
        if turn % 7 == 6:
            world.node(f"m{turn}", extra="yes")
            world.columns.set_namespace("d", {"turn": str(turn)})
        if turn % 10 == 9:
            await world.settle()
    await world.settle()


async def test_decisions_come_out_byte_for_byte(world: World) -> None:
    await churn(world, 20)
    published = dict(core(data) for data in await world.published())
    report = Replay(published=published).run(await world.chunks())
    assert report.difference is None
    assert report.gaps == []
    assert report.decisions == world.count == report.published


PACKING = ProfileShape(
    scheduler_name="packing",
    plugins=Plugins(score=PluginSet(disabled=(Plugin(name="ImageLocality"),))),
    plugin_config=(PluginConfig(name="NodeResourcesFit", args={"scoringStrategy": {"type": "MostAllocated"}}),),
)


@pytest.mark.parametrize("profile", profiles_of(ProfileFile(api_version=API_VERSION, kind=KIND, profiles=(PACKING,))))
async def test_the_profile_is_recorded_as_well(world: World, profile: Profile) -> None:
    await churn(world, 5)
    report = Replay().run(await world.chunks())
    assert report.difference is None
    assert report.decisions == world.count
    record = SchedulingDecision.FromString((await world.published())[0])
    assert (record.profile, record.profile_hash) == ("packing", profile.hash)
    assert profile.hash != default_profile().hash


async def test_terms_that_overlap_are_kept_apart(world: World) -> None:
    """Two schedulers side by side write into one stream."""
    other = World(2)
    other.journal._bus = world.bus
    async with asyncio.TaskGroup() as tasks:
        other.node("x")
        await other.clock.advance(0.5)  # it begins later
        other.decisions.start(tasks)
        await other.settle()
        for _ in range(4):
            await churn(world, 2)
            other.plan(other.pods(5))
            await other.settle()
        for task in list(tasks._tasks):
            task.cancel()
    report = Replay().run(await world.chunks())
    assert (report.terms, report.gaps, report.difference) == (2, [], None)
    assert report.decisions == world.count + other.count


async def test_replay_can_begin_at_any_checkpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_CHECKPOINT_BYTES", 1)
    for _ in range(6):
        await churn(world, 3)
    chunks = await world.chunks()
    begins = [place for place, chunk in enumerate(chunks) if chunk.checkpoint][::2]
    assert len(begins) > 3
    whole = Replay().run(chunks).decisions
    counts = []
    for begin in begins:
        report = Replay().run(chunks[begin:])
        assert report.difference is None
        counts.append(report.decisions)
    assert counts[0] == whole == world.count
    assert counts == sorted(counts, reverse=True)


async def test_a_decision_that_was_tampered_with_is_found(world: World) -> None:
    await churn(world, 5)
    chunks = await world.chunks()
    chunk = next(chunk for chunk in chunks if chunk.decisions)
    entries = JournalEntries.FromString(journal_module.zlib.decompress(chunk.entries))
    batch = next(entry.batch for entry in entries.entries if entry.HasField("batch"))
    record = SchedulingDecision.FromString(batch.pods[7])
    record.node = "elsewhere"
    batch.pods[7] = record.SerializeToString()
    chunk.entries = journal_module.zlib.compress(entries.SerializeToString())
    found = Replay().run(chunks).difference
    assert found is not None
    assert (found.batch, found.place, found.name) == (batch.number, 7, record.name)
    assert 'node: "elsewhere"' in found.recorded
    assert 'node: "elsewhere"' not in found.computed


async def test_a_gap_is_told_and_replay_goes_on_at_the_next_checkpoint(world: World) -> None:
    await churn(world, 10)
    world.journal._drop("as if the bus had been away")
    world.plan(world.pods(5))
    await world.settle()
    await churn(world, 10)
    report = Replay().run(await world.chunks())
    assert report.difference is None
    assert report.checkpoints == 2
    assert report.decisions == world.count - 5
    chunks = await world.chunks()
    del chunks[1]
    lost = Replay().run(chunks)
    assert lost.difference is None
    assert lost.gaps == [f"chunk 3 of term {chunks[0].term} does not follow chunk 1"]


async def test_a_bus_that_is_away_holds_nothing_back(world: World) -> None:
    world.broker.stop()
    for _ in range(50):
        world.plan(world.pods(20))
        world.leave(20)
    async with asyncio.timeout(30):
        while world.journal.recording:
            await world.settle()
    world.broker.start()
    await world.settle()
    await churn(world, 5)
    report = Replay().run(await world.chunks())
    assert report.difference is None
    assert report.checkpoints >= 2


async def test_a_chunk_that_is_no_journal_is_refused(world: World) -> None:
    chunks = await world.chunks()
    chunks[0].entries = b"rubbish"
    with pytest.raises(OrchError, match=r"chunk 1 of term \d+ cannot be read"):
        Replay().run(chunks)


async def test_a_hundred_thousand_decisions_are_identical() -> None:
    """Few classes and large batches, so that it takes seconds; `make replay` has more of everything."""
    world = World(7)
    await world.bus.ensure_stream(JOURNAL)
    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            world.node(f"n{number}")
        world.decisions.start(tasks)
        await world.settle()
        for turn in range(HUNDRED_THOUSAND // 1000):
            world.plan(world.pods(600) + world.pods(395, priority=1) + world.pods(5, nodeSelector={"zone": "z9"}))
            world.leave(900 if turn > 3 else 0)
            await world.settle()
        chunks = await world.chunks()
        for task in list(tasks._tasks):
            task.cancel()
    report = Replay().run(chunks)
    assert report.difference is None
    assert report.gaps == []
    assert report.decisions == HUNDRED_THOUSAND
