"""Processes of containers on this machine, by which what CRI has no call for is done: signals."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def signal_named(name: str) -> int:
    """Return the number of SIGTERM, SIGRTMIN+3 and the like; 0 for one that is not known here."""
    base, _, beyond = name.partition("+")
    known = getattr(signal, base, None)
    return int(known) + (int(beyond) if beyond.isdecimal() else 0) if isinstance(known, signal.Signals) else 0


def send(pid: int, number: int) -> None:
    """Send a signal; nothing if the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        _LOG.debug("process %d is gone", pid)


def entered(init: int, command: Sequence[str], since: float) -> int:
    """Return the process by which `command` was begun in the container of process `init`; 0 if it cannot be told.

    It shares the control group of `init` without descending from anyone in it, and began at `since` (in seconds of
    uptime) or later. Of several, the one that still shows its command line is meant.
    """
    group = _group(init)
    if not group:
        return 0
    members = [int(each.name) for each in _PROC.iterdir() if each.name.isdecimal() and _group(int(each.name)) == group]
    found: list[tuple[float, int]] = []
    for pid in members:
        parent, begun = _stat(pid)
        if pid != init and parent not in members and begun >= since:
            found.append((begun, pid))
    wanted = b"\0".join(part.encode() for part in command) + b"\0"
    exact = [(begun, pid) for begun, pid in found if _read(pid, "cmdline") == wanted]
    candidates = exact or found
    if len(candidates) > 1 and not exact:
        _LOG.warning("%d processes may be %s: none is signalled", len(candidates), command[0])
        return 0
    return min(candidates)[1] if candidates else 0


def uptime() -> float:
    """Return the seconds since the machine was booted, as processes' beginnings are counted."""
    return float((_PROC / "uptime").read_text().split()[0])


def _group(pid: int) -> bytes:
    return _read(pid, "cgroup")


def _stat(pid: int) -> tuple[int, float]:
    """Return a process's parent and when it began, in seconds of uptime."""
    fields = _read(pid, "stat").rpartition(b") ")[2].split()
    return (int(fields[1]), int(fields[19]) / _TICKS) if len(fields) > 19 else (0, 0.0)


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
