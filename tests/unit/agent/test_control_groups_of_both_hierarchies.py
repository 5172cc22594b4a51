"""Control groups over trees of plain files: v1 with a folder a controller, v2 with one for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from orch_agent.runtimes.cgroups import GroupError, Hierarchy, shares_of, weight_of
from orch_agent.runtimes.protocol import Limits


@pytest.fixture
def v1(tmp_path: Path) -> Hierarchy:
    for name in ("cpu", "cpuacct", "memory", "pids"):
        (tmp_path / name).mkdir()
    return Hierarchy(tmp_path)


@pytest.fixture
def v2(tmp_path: Path) -> Hierarchy:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    return Hierarchy(tmp_path)


LIMITS = Limits(cpu_shares=512, cpu_quota=50_000, memory=64 << 20, memory_min=8 << 20, memory_high=48 << 20, pids=100)


def test_v1_has_a_folder_for_each_controller(v1: Hierarchy, tmp_path: Path) -> None:
    assert not v1.unified
    v1.make("/node/burstable/podx")
    v1.apply("/node/burstable/podx", LIMITS)
    read = {path.name: path.read_text() for path in tmp_path.glob("*/node/burstable/podx/*")}
    assert read == {
        "cpu.shares": "512",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "memory.limit_in_bytes": str(64 << 20),
        "pids.max": "100",
    }
    assert v1.children("/node/burstable") == ["podx"]


def test_v1_writes_no_limit_in_its_own_words(v1: Hierarchy, tmp_path: Path) -> None:
    v1.make("/g")
    v1.apply("/g", Limits())
    assert (tmp_path / "cpu/g/cpu.cfs_quota_us").read_text() == "-1"
    assert (tmp_path / "memory/g/memory.limit_in_bytes").read_text() == "-1"
    assert (tmp_path / "pids/g/pids.max").read_text() == "max"


def test_v1_reads_back_what_is_set(v1: Hierarchy, tmp_path: Path) -> None:
    v1.make("/g")
    v1.apply("/g", LIMITS)
    assert v1.limits("/g") == Limits(cpu_shares=512, cpu_quota=50_000, memory=64 << 20, pids=100)
    (tmp_path / "memory/g/memory.limit_in_bytes").write_text("9223372036854771712")
    (tmp_path / "cpu/g/cpu.cfs_quota_us").write_text("-1")
    found = v1.limits("/g")
    assert found is not None
    assert (found.memory, found.cpu_quota) == (0, 0)
    assert v1.limits("/other") is None


@pytest.mark.parametrize(("limit", "written"), [(0, "-1"), (128 << 20, str(128 << 20)), (32 << 20, str(32 << 20))])
def test_v1_limits_memory_with_swap_where_that_has_a_limit(
    v1: Hierarchy, tmp_path: Path, limit: int, written: str
) -> None:
    v1.make("/g")
    with_swap = tmp_path / "memory/g/memory.memsw.limit_in_bytes"
    with_swap.write_text(str(64 << 20))
    v1.apply("/g", Limits(memory=limit))
    assert [(tmp_path / "memory/g/memory.limit_in_bytes").read_text(), with_swap.read_text()] == [written, written]


def test_a_group_that_is_gone_cannot_be_set(v1: Hierarchy) -> None:
    with pytest.raises(GroupError, match="no such control group"):
        v1.apply("/gone", Limits())


def test_v1_tells_use(v1: Hierarchy, tmp_path: Path) -> None:
    v1.make("/g")
    (tmp_path / "cpuacct/g").mkdir()
    (tmp_path / "cpuacct/g/cpuacct.usage").write_text("5000000\n")
    (tmp_path / "cpu/g/cpu.stat").write_text("nr_periods 10\nnr_throttled 3\nthrottled_time 7000\n")
    (tmp_path / "memory/g/memory.usage_in_bytes").write_text("1000\n")
    stat = "total_inactive_file 300\ntotal_rss 400\ntotal_pgfault 7\ntotal_pgmajfault 2\ntotal_swap 5\n"
    (tmp_path / "memory/g/memory.stat").write_text(stat)
    (tmp_path / "pids/g/pids.current").write_text("4\n")
    used = v1.use("/g")
    assert used is not None
    assert (used.cpu_nanos, used.processes) == (5_000_000, 4)
    assert (used.memory.usage, used.memory.working_set, used.memory.rss, used.memory.swap) == (1000, 700, 400, 5)
    assert (used.memory.page_faults, used.memory.major_page_faults) == (7, 2)
    assert (used.throttling.periods, used.throttling.throttled_periods, used.throttling.throttled_nanos) == (
        10,
        3,
        7000,
    )
    assert v1.use("/gone") is None


def test_v2_enables_controllers_on_the_way_down(v2: Hierarchy, tmp_path: Path) -> None:
    assert v2.unified
    (tmp_path / "node").mkdir()
    (tmp_path / "node/cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "node/cgroup.subtree_control").write_text("")
    v2.make("/node/podx")
    assert set((tmp_path / "cgroup.subtree_control").read_text().split()) == {"+cpu", "+pids", "+cpuset", "+io"}
    assert set((tmp_path / "node/cgroup.subtree_control").read_text().split()) == {"+cpu", "+memory", "+pids"}
    assert (tmp_path / "node/podx").is_dir()


def test_v2_sets_and_reads_weights_and_protection(v2: Hierarchy, tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    v2.apply("/g", LIMITS)
    read = {path.name: path.read_text() for path in (tmp_path / "g").iterdir()}
    assert read == {
        "cpu.weight": str(weight_of(512)),
        "cpu.max": "50000 100000",
        "memory.max": str(64 << 20),
        "memory.min": str(8 << 20),
        "memory.high": str(48 << 20),
        "pids.max": "100",
    }
    found = v2.limits("/g")
    assert found is not None
    assert (found.memory, found.memory_min, found.memory_high) == (64 << 20, 8 << 20, 48 << 20)
    assert weight_of(found.cpu_shares) == weight_of(512)
    v2.apply("/g", Limits())
    assert (tmp_path / "g/cpu.max").read_text() == "max 100000"
    assert (tmp_path / "g/memory.max").read_text() == "max"


def test_v2_tells_use(v2: Hierarchy, tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g/cpu.stat").write_text("usage_usec 2000\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n")
    (tmp_path / "g/memory.current").write_text("1000")
    (tmp_path / "g/memory.stat").write_text("anon 400\ninactive_file 100\npgfault 8\npgmajfault 1\n")
    (tmp_path / "g/pids.current").write_text("3")
    used = v2.use("/g")
    assert used is not None
    assert (used.cpu_nanos, used.processes, used.throttling.throttled_nanos) == (2_000_000, 3, 9000)
    assert (used.memory.working_set, used.memory.rss, used.memory.swap) == (900, 400, 0)


def test_weights_stand_for_shares_as_in_the_newer_formula() -> None:
    assert [weight_of(shares) for shares in (2, 1024, 262_144)] == [1, 100, 10_000]
    assert all(weight_of(shares_of(weight)) == weight for weight in (1, 2, 50, 100, 10_000))


def test_groups_are_removed_with_all_below(v1: Hierarchy, tmp_path: Path) -> None:
    v1.make("/node/pod/container")
    v1.remove("/node/pod")
    v1.remove("/node/pod")
    assert v1.children("/node") == []
    (tmp_path / "memory/node/busy").mkdir()
    (tmp_path / "memory/node/busy/file").touch()
    with pytest.raises(GroupError, match="/node/busy cannot be removed"):
        v1.remove("/node/busy")


def test_what_the_kernel_refuses_is_told(v1: Hierarchy, tmp_path: Path) -> None:
    (tmp_path / "cpu/file").touch()
    with pytest.raises(GroupError, match="/file/g cannot be made"):
        v1.make("/file/g")
