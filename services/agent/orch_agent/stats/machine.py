"""What the kernel says of the machine as a whole. The paths `proc` and `sys` are the kernel's own, but for tests."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from orch_agent.stats.model import MemoryUse, NetworkUse

_PROC: Final = Path("/proc")
_SYS: Final = Path("/sys")
_NANO: Final = 1_000_000_000
_SYS_RESOURCE: Final = 24


class MachineUse(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The machine at one moment; `booted_at` in seconds since the epoch."""

    cpu_nanos: int
    memory: MemoryUse
    memory_total: int
    memory_available: int
    swap_total: int
    processes: int
    most_processes: int
    booted_at: float
    networks: tuple[NetworkUse, ...] = ()


def look(proc: Path = _PROC) -> MachineUse:
    """Return what the machine uses. Its working set is what it could not give back by dropping files it has read."""
    memory = memory_info(proc)
    used = memory["MemTotal"] - memory["MemFree"]
    working_set = max(used - memory.get("Inactive(file)", 0), 0)
    faults = _fields(proc / "vmstat")
    stat = (proc / "stat").read_text()
    booted = next((line.split()[1] for line in stat.splitlines() if line.startswith("btime ")), "0")
    detail = MemoryUse(
        usage=used,
        working_set=working_set,
        rss=memory.get("AnonPages", 0),
        swap=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        page_faults=faults.get("pgfault", 0),
        major_page_faults=faults.get("pgmajfault", 0),
    )
    most = min(
        int(_line(proc / "sys/kernel/pid_max") or "32768"), int(_line(proc / "sys/kernel/threads-max") or "4194304")
    )
    return MachineUse(
        cpu_nanos=_cpu_nanos(stat),
        memory=detail,
        memory_total=memory["MemTotal"],
        memory_available=memory["MemTotal"] - working_set,
        swap_total=memory.get("SwapTotal", 0),
        processes=int(_line(proc / "loadavg").split()[3].partition("/")[2]),
        most_processes=most,
        booted_at=float(booted),
        networks=networks(proc / "net/dev"),
    )


def least_oom_score(proc: Path = _PROC) -> int:
    """Return the lowest oom_score_adj that this process may give: its own, unless it has CAP_SYS_RESOURCE."""
    status = _line_of(proc / "self/status", "CapEff:")
    if int(status or "0", 16) >> _SYS_RESOURCE & 1:
        return -1000
    return int(_line(proc / "self/oom_score_adj") or "0")


def memory_info(proc: Path = _PROC) -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return {parts[0].rstrip(":"): int(parts[1]) << 10 for parts in lines if len(parts) == 3}


def networks(table: Path) -> tuple[NetworkUse, ...]:
    """Return what the interfaces of a table such as /proc/PID/net/dev have carried, loopback left out."""
    try:
        lines = table.read_text().splitlines()[2:]
    except OSError:
        return ()
    found: list[NetworkUse] = []
    for line in lines:
        name, _, counts = line.partition(":")
        numbers = [int(part) for part in counts.split()]
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        found.append(
            NetworkUse(
                name=name.strip(),
                rx_bytes=numbers[0],
                rx_packets=numbers[1],
                rx_errors=numbers[2],
                rx_dropped=numbers[3],
                tx_bytes=numbers[8],
                tx_packets=numbers[9],
                tx_errors=numbers[10],
                tx_dropped=numbers[11],
            )
        )
    return tuple(found)


def huge_pages(sys: Path = _SYS) -> dict[str, int]:
    """Return the bytes of huge pages that are set aside, by resource: hugepages-2Mi."""
    found: dict[str, int] = {}
    for folder in sorted((sys / "kernel/mm/hugepages").glob("hugepages-*kB")):
        size = int(folder.name.removeprefix("hugepages-").removesuffix("kB")) << 10
        found[f"hugepages-{_size(size)}"] = size * int(_line(folder / "nr_hugepages") or "0")
    return found


def _size(number: int) -> str:
    for suffix in ("Ki", "Mi"):
        number >>= 10
        if number % 1024:
            return f"{number}{suffix}"
    return f"{number >> 10}Gi"


def _cpu_nanos(stat: str) -> int:
    """Return the machine's CPU time spent on work since it was booted."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = (int(part) for part in stat.partition("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) * _NANO // os.sysconf("SC_CLK_TCK")


def _fields(path: Path) -> dict[str, int]:
    try:
        pairs: Iterable[list[str]] = (line.split() for line in path.read_text().splitlines())
    except OSError:
        return {}
    return {parts[0]: int(parts[1]) for parts in pairs if len(parts) == 2 and parts[1].isdecimal()}


def _line_of(path: Path, name: str) -> str:
    """Return what follows a name at the beginning of one of a file's lines."""
    lines = path.read_text().splitlines()
    return next((line.removeprefix(name).strip() for line in lines if line.startswith(name)), "")


def _line(path: Path) -> str:
    """Return a file's first line, "" when this machine has no such file or keeps it secret."""
    try:
        return path.read_text().partition("\n")[0].strip()
    except OSError:
        return ""
