"""What `orch replay decisions` fetches of the journal, and how it says what came of it."""

from __future__ import annotations

import argparse
import time

import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.subjects import JOURNAL, journal_subject
from orch.errors import BusError, OrchError
from orch_cli.replay import Difference, ReplayReport, _recompute, _time, recorded_chunks
from orch_pb.v1.journal_pb2 import JournalChunk, Recording


@pytest.fixture
async def bus():
    bus = MemoryBroker().connect("orch:admin")
    await bus.ensure_stream(JOURNAL)
    yield bus
    await bus.close()


async def write(bus, term, number, moment, *, checkpoint=False):
    chunk = JournalChunk(term=term, number=number, time=moment, checkpoint=checkpoint)
    await bus.append(journal_subject("scheduler", term, number), chunk.SerializeToString())


async def fetched(bus, since):
    return [(chunk.term, chunk.number) for chunk in await recorded_chunks(bus, since)]


async def test_the_journal_is_read_from_the_last_checkpoint_before_the_beginning(bus):
    await write(bus, 1, 1, 10, checkpoint=True)
    await write(bus, 1, 2, 20)
    await write(bus, 1, 3, 30, checkpoint=True)
    await write(bus, 1, 4, 40)
    assert await fetched(bus, 0) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert await fetched(bus, 29) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert await fetched(bus, 30) == [(1, 3), (1, 4)]
    assert await fetched(bus, 99) == [(1, 3), (1, 4)]


async def test_another_terms_checkpoint_leaves_this_ones_chunks(bus):
    await write(bus, 1, 1, 10, checkpoint=True)
    await write(bus, 2, 1, 20, checkpoint=True)
    await write(bus, 1, 2, 30)
    await write(bus, 2, 2, 40, checkpoint=True)
    assert await fetched(bus, 99) == [(1, 1), (1, 2), (2, 2)]


async def test_what_is_no_journal_is_refused(bus):
    await bus.append(journal_subject("scheduler", 1, 1), b"\xff\xff")
    with pytest.raises(BusError, match=r"chunk on orch\.journal\.scheduler\.1\.1 cannot be read"):
        await recorded_chunks(bus, 0)


def test_moments_are_times_or_how_long_ago():
    assert _time("2026-01-02T03:04:05Z") == 1_767_323_045_000_000
    assert _time("2026-01-02T03:04:05") == 1_767_323_045_000_000
    assert _time("2026-01-02T04:04:05+01:00") == 1_767_323_045_000_000
    assert abs(_time("10m") - (time.time() - 600) * 1e6) < 60e6
    with pytest.raises(argparse.ArgumentTypeError, match="neither a time like"):
        _time("yesterday")


def test_a_file_that_is_no_recording_says_so(tmp_path):
    file = tmp_path / "rubbish"
    file.write_bytes(b"\xff\xff\xff")
    with pytest.raises(OrchError, match="rubbish is not a recording"):
        _recompute(file, 0, 1 << 62)


def test_an_empty_recording_has_no_decisions(tmp_path):
    file = tmp_path / "empty"
    file.write_bytes(Recording().SerializeToString())
    assert _recompute(file, 0, 1 << 62) == ReplayReport()


def test_a_difference_is_shown_from_both_sides():
    difference = Difference(5, 2, 7, "d", "web", 'node: "a"\n', 'node: "b"\n')
    text = ReplayReport(decisions=9, batches=2, first=1_000_000, last=2_000_000, difference=difference).text()
    assert "Result    DIFFERENT" in text
    assert "The first difference is d/web, place 7 of batch 2, term 5." in text
    assert 'Recorded:\n  node: "a"\nComputed:\n  node: "b"' in text
    assert "identical, byte for byte" in ReplayReport().text()
