"""A container whose processes do nothing is not read anew each second, and nothing is made anew of its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from orch.clock import ManualClock
from orch_agent.runtimes.cgroups import Hierarchy
from orch_agent.runtimes.protocol import Identity
from orch_agent.runtimes.readings import Measured, Readings


class Tree:
    """A group in a tree of plain files, in both forms that the kernel has."""

    def __init__(self, root: Path, *, unified: bool) -> None:
        self._root = root
        self._unified = unified
        if unified:
            (root / "cgroup.controllers").write_text("cpu memory pids\n")
        self.uses(1, memory=1000)

    def uses(self, seconds: int, *, memory: int) -> None:
        """Have the group used so much."""
        if self._unified:
            files = {"g/cpu.stat": f"usage_usec {seconds}000000\n", "g/memory.current": f"{memory}\n"}
        else:
            files = {
                "cpuacct/g/cpuacct.usage": f"{seconds}000000000\n",
                "memory/g/memory.usage_in_bytes": f"{memory}\n",
            }
        for name, text in files.items():
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            (self._root / name).write_text(text)


@pytest.fixture(params=[False, True], ids=["v1", "v2"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return Tree(tmp_path, unified=request.param)


MEASURED = Measured("c1", Identity("node", "default", "web", "uid", "main"), "/g")


def test_what_did_nothing_is_the_very_reading_of_the_last_time(tree: Tree, tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path)
    before = hierarchy.use("/g")
    tree.uses(1, memory=9999)
    assert hierarchy.use("/g", before) is before
    tree.uses(2, memory=9999)
    after = hierarchy.use("/g", before)
    assert after is not None
    assert after.memory.usage == 9999


def test_a_container_is_read_when_it_did_something(tree: Tree, tmp_path: Path) -> None:
    readings = Readings(Hierarchy(tmp_path), ManualClock())
    (first,) = readings.take([MEASURED])
    (second,) = readings.take([MEASURED])
    assert second is first
    tree.uses(2, memory=3000)
    (third,) = readings.take([MEASURED])
    assert (third.cpu_nanos, third.memory_bytes, third.id) == (2_000_000_000, 3000, "c1")


async def test_memory_that_is_taken_from_an_idle_container_is_seen_after_a_while(tree: Tree, tmp_path: Path) -> None:
    clock = ManualClock()
    readings = Readings(Hierarchy(tmp_path), clock)
    readings.take([MEASURED])
    tree.uses(1, memory=500)
    (still,) = readings.take([MEASURED])
    assert still.memory_bytes == 1000
    await clock.advance(10)
    (seen,) = readings.take([MEASURED])
    assert seen.memory_bytes == 500


def test_a_container_whose_group_is_gone_is_left_out(tree: Tree, tmp_path: Path) -> None:
    del tree
    readings = Readings(Hierarchy(tmp_path), ManualClock())
    gone = Measured("c2", MEASURED.identity, "/gone")
    assert [each.id for each in readings.take([gone, MEASURED])] == ["c1"]
