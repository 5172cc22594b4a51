"""Whom a preemption chose, on which node and at what cost, is computed again from the journal, to the last byte."""

from __future__ import annotations

import zlib

import pytest

from orch.bus.protocol import Message, Signal
from orch.bus.subjects import JOURNAL, journal_of
from orch_pb.v1.decision_pb2 import Preemption
from orch_pb.v1.journal_pb2 import JournalChunk, JournalEntries
from orch_scheduler.replay.recompute import Replay


@pytest.fixture
def chunks(api, scheduler, eventually):
    async def idle() -> bool:
        return scheduler._decisions._journal.idle

    async def written() -> list[JournalChunk]:
        await eventually(idle)
        found = []
        async for message in api.bus("system:kube-scheduler").follow(JOURNAL.name, [journal_of("scheduler")]):
            if isinstance(message, Message):
                found.append(JournalChunk.FromString(message.data))
            elif message is Signal.SYNCED:
                return found
        return found

    return written


async def test_preemptions_come_out_again(scheduler, chunks, add_node, add_pod, bound):
    for number in range(3):
        await add_node(f"n{number}", cpu="2")
    for number in range(6):
        await add_pod(f"low-{number}", cpu="1", priority=number, terminationGracePeriodSeconds=0)
        await bound(f"low-{number}")
    for number in range(2):
        await add_pod(f"high-{number}", cpu="2", priority=100)
    for number in range(2):
        await bound(f"high-{number}")
    recorded = await chunks()
    report = Replay(listing=True).run(recorded)
    assert report.difference is None
    assert report.preemptions >= 2
    assert {(one.name, one.priority) for one in report.rooms} == {("high-0", 100), ("high-1", 100)}
    went = [name for one in report.rooms for name in one.victims]
    assert len(went) == len(set(went)) == 4
    assert set(went) <= {f"default/low-{number}" for number in range(6)}
    changed = 0
    for chunk in recorded:
        entries = JournalEntries.FromString(zlib.decompress(chunk.entries))
        for entry in entries.entries:
            if entry.HasField("preempting"):
                record = Preemption.FromString(entry.preempting.record)
                assert record.node
                assert record.victims
                assert record.best[0].node == record.node
                assert record.best[0].victims == len(record.victims)
                assert all(one.name for one in record.victims)
                record.violations += 1
                entry.preempting.record = record.SerializeToString()
                changed += 1
        chunk.entries = zlib.compress(entries.SerializeToString())
    assert changed >= 2
    difference = Replay().run(recorded).difference
    assert difference is not None
    assert "violations" in difference.recorded
