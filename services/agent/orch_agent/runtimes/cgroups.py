"""What the kernel's control groups say of a container: CPU time, memory, and whether it ran out of memory.

Both hierarchies are known: v1 (one folder a controller) and v2 (one for all).
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from prometheus_client import Counter

_LOG: Final = logging.getLogger(__name__)
_ROOT: Final = Path("/sys/fs/cgroup")
_UNWATCHED: Final = Counter("orch_agent_oom_unwatched_total", "Containers whose OOM events could not be watched.")


def is_unified() -> bool:
    """Tell whether the machine uses cgroup v2 alone."""
    return (_ROOT / "cgroup.controllers").exists()


def usage(group: str) -> tuple[int, int] | None:
    """Return (CPU nanoseconds, memory working set in bytes) of a group such as /orch/libpod-ID; None if it is gone."""
    group = group.lstrip("/")
    try:
        if is_unified():
            folder = _ROOT / group
            cpu = _field(folder / "cpu.stat", "usage_usec") * 1000
            memory = int((folder / "memory.current").read_text())
            inactive = _field(folder / "memory.stat", "inactive_file")
        else:
            cpu = int((_ROOT / "cpuacct" / group / "cpuacct.usage").read_text())
            folder = _ROOT / "memory" / group
            memory = int((folder / "memory.usage_in_bytes").read_text())
            inactive = _field(folder / "memory.stat", "total_inactive_file")
    except OSError:
        return None
    return cpu, max(memory - inactive, 0)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


class OomWatch:
    """Notices that containers ran out of memory, on cgroup v1.

    A container's group is gone a moment after its end, and its counters with it; so the kernel is asked to signal
    each event on an eventfd. (On v2 conmon notices by itself, and Podman tells.)
    """

    def __init__(self) -> None:
        self._watched: dict[str, tuple[int, int]] = {}
        self._hit: set[str] = set()

    def add(self, container: str, group: str) -> None:
        """Watch a container that has just got its group; nothing if it is watched."""
        if container in self._watched or is_unified():
            return
        folder = _ROOT / "memory" / group.lstrip("/")
        try:
            control = os.open(folder / "memory.oom_control", os.O_RDONLY)
        except OSError as error:
            _UNWATCHED.inc()
            _LOG.debug("OOM events of %s are not watched: %s", container, error)
            return
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            (folder / "cgroup.event_control").write_text(f"{event} {control}")
        except OSError as error:
            _UNWATCHED.inc()
            _LOG.debug("OOM events of %s are not watched: %s", container, error)
            os.close(event)
            os.close(control)
            return
        self._watched[container] = (event, control)
        asyncio.get_running_loop().add_reader(event, self._signalled, container, folder)

    def was_hit(self, container: str) -> bool:
        """Tell whether the container ran out of memory."""
        return container in self._hit

    def forget(self, container: str) -> None:
        """Stop watching a container that is removed."""
        self._hit.discard(container)
        self._close(container)

    def close(self) -> None:
        """Stop watching all."""
        for container in list(self._watched):
            self._close(container)

    def _signalled(self, container: str, folder: Path) -> None:
        event, _ = self._watched[container]
        count = os.eventfd_read(event)
        gone = not folder.exists()
        # The removal of a group is signalled once as well.
        if count > int(gone):
            self._hit.add(container)
        if gone:
            self._close(container)

    def _close(self, container: str) -> None:
        watched = self._watched.pop(container, None)
        if watched is not None:
            asyncio.get_running_loop().remove_reader(watched[0])
            for descriptor in watched:
                os.close(descriptor)
