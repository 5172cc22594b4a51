"""The kernel's control groups: made, set, read and removed by their paths, such as /orch/burstable/podUID.

Both hierarchies are known: v1 (one folder a controller; so is a hybrid machine, whose controllers are there) and v2
(one for all). What a controller that is missing would do is left undone.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from orch.errors import OrchError
from orch_agent.runtimes.protocol import Limits
from orch_agent.stats.model import MemoryUse, Throttling

_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = ("cpu", "memory", "pids")
_PLACES: Final = ("cpu", "cpuacct", "memory", "pids")
"""The hierarchies of v1 that a process is moved in."""
_UNLIMITED: Final = 1 << 62
"""What v1 writes for no memory limit is a little below 2^63."""
_LONGEST: Final = 16 << 10
"""Bytes: the statistics of memory are the longest of the files that are read often, and take a fifth of that."""
_LEAST_SHARES: Final = 2
_MOST_SHARES: Final = 262_144


class GroupError(OrchError):
    """The kernel refused a change of a control group."""


class GroupUse(msgspec.Struct, frozen=True, gc=False):
    """What the processes of a group have used."""

    cpu_nanos: int
    memory: MemoryUse
    processes: int = 0
    throttling: Throttling = Throttling()


class Hierarchy:
    """The control groups below `root`."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self.unified = (root / "cgroup.controllers").exists()

    # -- making --------------------------------------------------------------------------------------------------

    def make(self, group: str) -> None:
        """Make a group, and those above it. Raises GroupError."""
        try:
            if self.unified:
                self._make_unified(group)
                return
            for folder in self._folders(group, _CONTROLLERS):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GroupError(f"control group {group} cannot be made: {error}") from error

    def apply(self, group: str, limits: Limits) -> None:
        """Set what a group may use. Raises GroupError."""
        try:
            if self.unified:
                self._apply_unified(self._root / group.lstrip("/"), limits)
            else:
                self._apply_v1(group, limits)
        except OSError as error:
            raise GroupError(f"control group {group} cannot be set: {error}") from error

    def add(self, group: str, pid: int) -> None:
        """Make a group and move a process into it; what it starts from then on is there, too. Raises GroupError."""
        self.make(group)
        try:
            for folder in self._folders(group, () if self.unified else _PLACES):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise GroupError(f"process {pid} cannot be moved into {group}: {error}") from error

    def remove(self, group: str) -> None:
        """Remove a group and all below it, ending what still runs there. Raises GroupError while some of it stays."""
        self.kill(group)
        for top in self._folders(group, () if self.unified else self._v1_hierarchies()):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(FileNotFoundError):
                    try:
                        os.rmdir(folder)  # noqa: PTH106 - os.walk gives text
                    except OSError as error:
                        raise GroupError(f"control group {group} cannot be removed: {error}") from error

    def kill(self, group: str) -> None:
        """Send SIGKILL to all processes of a group and of those below it."""
        for top in self._folders(group, () if self.unified else ("memory", "cpu", "pids")):
            for path in top.rglob("cgroup.procs"):
                for pid in _numbers(path):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def children(self, group: str) -> list[str]:
        """Return the names of the groups directly below one."""
        names: set[str] = set()
        for folder in self._folders(group, () if self.unified else _CONTROLLERS):
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                names.update(entry.name for entry in entries if entry.is_dir())
        return sorted(names)

    # -- reading -------------------------------------------------------------------------------------------------

    def use(self, group: str, before: GroupUse | None = None) -> GroupUse | None:
        """Return what a group and those below it have used; None if it is gone.

        `before` is what was read earlier: it is returned as it is when no processor time was used since, as nothing
        else can have grown without.
        """
        try:
            return self._use_unified(group, before) if self.unified else self._use_v1(group, before)
        except (OSError, ValueError):
            return None

    def limits(self, group: str) -> Limits | None:
        """Return what a group may use, 0 where that is not limited; None if it is gone."""
        try:
            return self._limits_unified(group) if self.unified else self._limits_v1(group)
        except (OSError, ValueError):
            return None

    def first_process(self, group: str) -> int:
        """Return a process of a group, 0 if there is none."""
        for folder in self._folders(group, () if self.unified else ("memory",)):
            with contextlib.suppress(OSError):
                for pid in _read(folder / "cgroup.procs").split():
                    return int(pid)
        return 0

    def folder(self, group: str, controller: str) -> Path:
        """Return the folder in which a controller keeps its files of a group."""
        return self._root / group.lstrip("/") if self.unified else self._root / controller / group.lstrip("/")

    # -- v1 ------------------------------------------------------------------------------------------------------

    def _apply_v1(self, group: str, limits: Limits) -> None:
        cpu, memory, pids = (self.folder(group, name) for name in _CONTROLLERS)
        if not (cpu.exists() or memory.exists() or pids.exists()):
            raise FileNotFoundError(f"no such control group: {group}")
        if cpu.exists():
            (cpu / "cpu.shares").write_text(str(limits.cpu_shares))
            (cpu / "cpu.cfs_period_us").write_text(str(limits.cpu_period))
            (cpu / "cpu.cfs_quota_us").write_text(str(limits.cpu_quota or -1))
        if memory.exists():
            _limit_memory(memory, limits.memory)
        if pids.exists():
            (pids / "pids.max").write_text(str(limits.pids or "max"))

    def _use_v1(self, group: str, before: GroupUse | None) -> GroupUse:
        nanos = int(_read(f"{self._root}/cpuacct/{group}/cpuacct.usage"))
        if before is not None and before.cpu_nanos == nanos:
            return before
        used = int(_read(f"{self._root}/memory/{group}/memory.usage_in_bytes"))
        stat = _fields(f"{self._root}/memory/{group}/memory.stat")
        detail = MemoryUse(
            usage=used,
            working_set=max(used - stat.get(b"total_inactive_file", 0), 0),
            rss=stat.get(b"total_rss", 0),
            swap=stat.get(b"total_swap", 0),
            page_faults=stat.get(b"total_pgfault", 0),
            major_page_faults=stat.get(b"total_pgmajfault", 0),
        )
        throttled = _fields(f"{self._root}/cpu/{group}/cpu.stat")
        throttling = Throttling(
            throttled.get(b"nr_periods", 0), throttled.get(b"nr_throttled", 0), throttled.get(b"throttled_time", 0)
        )
        return GroupUse(nanos, detail, _number(f"{self._root}/pids/{group}/pids.current"), throttling)

    def _limits_v1(self, group: str) -> Limits:
        cpu, memory = self.folder(group, "cpu"), self.folder(group, "memory")
        most = int((memory / "memory.limit_in_bytes").read_text())
        return Limits(
            cpu_shares=int((cpu / "cpu.shares").read_text()),
            cpu_quota=max(int((cpu / "cpu.cfs_quota_us").read_text()), 0),
            cpu_period=int((cpu / "cpu.cfs_period_us").read_text()),
            memory=0 if most >= _UNLIMITED else most,
            pids=_number(self.folder(group, "pids") / "pids.max"),
        )

    def _v1_hierarchies(self) -> tuple[str, ...]:
        return tuple(sorted(entry.name for entry in self._root.iterdir() if entry.is_dir() and not entry.is_symlink()))

    # -- v2 ------------------------------------------------------------------------------------------------------

    def _make_unified(self, group: str) -> None:
        folder = self._root
        for name in group.strip("/").split("/"):
            known = set((folder / "cgroup.controllers").read_text().split())
            wanted = [each for each in (*_CONTROLLERS, "cpuset", "io", "hugetlb") if each in known]
            enabled = set((folder / "cgroup.subtree_control").read_text().split())
            if missing := [f"+{each}" for each in wanted if each not in enabled]:
                (folder / "cgroup.subtree_control").write_text(" ".join(missing))
            folder /= name
            folder.mkdir(exist_ok=True)

    @staticmethod
    def _apply_unified(folder: Path, limits: Limits) -> None:
        (folder / "cpu.weight").write_text(str(weight_of(limits.cpu_shares)))
        (folder / "cpu.max").write_text(f"{limits.cpu_quota or 'max'} {limits.cpu_period}")
        (folder / "memory.max").write_text(str(limits.memory or "max"))
        (folder / "memory.min").write_text(str(limits.memory_min))
        (folder / "memory.high").write_text(str(limits.memory_high or "max"))
        (folder / "pids.max").write_text(str(limits.pids or "max"))

    def _use_unified(self, group: str, before: GroupUse | None) -> GroupUse:
        folder = f"{self._root}/{group}"
        cpu = _fields(f"{folder}/cpu.stat")
        nanos = cpu.get(b"usage_usec", 0) * 1000
        if before is not None and before.cpu_nanos == nanos:
            return before
        used = int(_read(f"{folder}/memory.current"))
        stat = _fields(f"{folder}/memory.stat")
        detail = MemoryUse(
            usage=used,
            working_set=max(used - stat.get(b"inactive_file", 0), 0),
            rss=stat.get(b"anon", 0),
            swap=_number(f"{folder}/memory.swap.current"),
            page_faults=stat.get(b"pgfault", 0),
            major_page_faults=stat.get(b"pgmajfault", 0),
        )
        throttling = Throttling(
            cpu.get(b"nr_periods", 0), cpu.get(b"nr_throttled", 0), cpu.get(b"throttled_usec", 0) * 1000
        )
        return GroupUse(nanos, detail, _number(f"{folder}/pids.current"), throttling)

    def _limits_unified(self, group: str) -> Limits:
        folder = self._root / group.lstrip("/")
        quota, period = (folder / "cpu.max").read_text().split()
        return Limits(
            cpu_shares=shares_of(int((folder / "cpu.weight").read_text())),
            cpu_quota=0 if quota == "max" else int(quota),
            cpu_period=int(period),
            memory=_number(folder / "memory.max"),
            memory_min=_number(folder / "memory.min"),
            memory_high=_number(folder / "memory.high"),
            pids=_number(folder / "pids.max"),
        )

    def _folders(self, group: str, controllers: Iterable[str]) -> list[Path]:
        """Return a group's folders: one with v2, one in each of these controllers that the machine has with v1."""
        if self.unified:
            return [self._root / group.lstrip("/")]
        return [self._root / name / group.lstrip("/") for name in controllers if (self._root / name).is_dir()]


def weight_of(shares: int) -> int:
    """Return the weight of v2 that stands for shares of v1: 1024 is 100 (github.com/opencontainers/cgroups)."""
    if shares <= _LEAST_SHARES:
        return 1
    if shares >= _MOST_SHARES:
        return 10_000
    doublings = math.log2(shares)
    return math.ceil(10 ** ((doublings * doublings + 125 * doublings) / 612 - 7 / 34))


def shares_of(weight: int) -> int:
    """Return the least shares that stand for a weight."""
    low, high = _LEAST_SHARES, _MOST_SHARES
    while low < high:
        middle = (low + high) // 2
        if weight_of(middle) >= weight:
            high = middle
        else:
            low = middle + 1
    return low


def _limit_memory(folder: Path, limit: int) -> None:
    """Limit memory on v1, where memory and swap together may have a limit too, which must never be the lesser one."""
    memory, with_swap = folder / "memory.limit_in_bytes", folder / "memory.memsw.limit_in_bytes"
    bound = int(with_swap.read_text()) if with_swap.exists() else _UNLIMITED
    both = [memory] if bound >= _UNLIMITED else [memory, with_swap]
    if limit == 0 or limit > bound:
        both.reverse()
    for each in both:
        each.write_text(str(limit or -1))


def _read(path: str | os.PathLike[str]) -> bytes:
    """Return one of the kernel's small files, which come whole; many are read each second."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _LONGEST)
    finally:
        os.close(file)


def _fields(path: str) -> dict[bytes, int]:
    """Return a file of names and numbers, {} if there is none."""
    try:
        words = _read(path).split()
    except FileNotFoundError:
        return {}
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def _number(path: str | os.PathLike[str]) -> int:
    """Return the number that a file holds; 0 for none, and for no limit."""
    try:
        text = _read(path).strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0


def _numbers(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text().split()]
    except OSError:
        return []
