"""Notices that containers ran out of memory, and ends them as wholes, on cgroup v1.

A container's group is gone a moment after its end, and its counters with it; so the kernel is asked to signal each
event on an eventfd. Groups above signal theirs to all below, so a container is only held to be hit when its own
counter says so. On v2 the kernel ends the group by itself (memory.oom.group), and conmon tells Podman.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import Counter

from orch_agent.runtimes.cgroups import Hierarchy

_LOG: Final = logging.getLogger(__name__)
_UNWATCHED: Final = Counter("orch_agent_oom_unwatched_total", "Containers whose OOM events could not be watched.")
_KILLS: Final = Counter("orch_agent_oom_kills_total", "Containers that ran out of memory.")
_LOOK_AGAIN: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between looks at the counter: the event is signalled before the kernel has killed anything."""


class _Watched(msgspec.Struct):
    event: int
    control: int
    group: str
    looking: asyncio.Task[None] | None = None


class OomWatch:
    """Watches the containers of one node. `whole`: a container of which one process is killed is ended."""

    def __init__(self, hierarchy: Hierarchy, *, whole: bool = True) -> None:
        self._hierarchy = hierarchy
        self._whole = whole
        self._watched: dict[str, _Watched] = {}
        self._hit: set[str] = set()
        self._suspected: set[str] = set()

    def add(self, container: str, group: str) -> None:
        """Watch a container that has just got its group; nothing if it is watched."""
        if container in self._watched or self._hierarchy.unified:
            return
        folder = self._hierarchy.folder(group, "memory")
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
        self._watched[container] = _Watched(event, control, group)
        asyncio.get_running_loop().add_reader(event, self._signalled, container, folder)

    def was_hit(self, container: str, exit_code: int) -> bool:
        """Tell whether the container ran out of memory.

        A group that went before its counter could be read leaves a doubt, which SIGKILL as its end dispels.
        """
        return container in self._hit or (container in self._suspected and exit_code == 128 + 9)

    def forget(self, container: str) -> None:
        """Stop watching a container that is removed."""
        self._hit.discard(container)
        self._suspected.discard(container)
        watched = self._watched.get(container)
        if watched is not None and watched.looking is not None:
            watched.looking.cancel()
        self._close(container)

    def close(self) -> None:
        """Stop watching all."""
        for container in list(self._watched):
            self.forget(container)

    def _signalled(self, container: str, folder: Path) -> None:
        watched = self._watched[container]
        count = os.eventfd_read(watched.event)
        gone = not folder.exists()
        # The removal of a group is signalled once as well.
        if count > int(gone):
            self._suspected.add(container)
            if not gone and (watched.looking is None or watched.looking.done()):
                watched.looking = asyncio.create_task(self._confirm(container, watched, folder), name="out of memory")
        if gone:
            self._close(container)

    async def _confirm(self, container: str, watched: _Watched, folder: Path) -> None:
        """Wait until the kernel has killed one of the container's own processes; then end the others."""
        for pause in _LOOK_AGAIN:
            await asyncio.sleep(pause)
            kills = _kills(folder)
            if kills is None:
                return
            if kills:
                self._hit.add(container)
                _KILLS.inc()
                if self._whole:
                    self._hierarchy.kill(watched.group)
                return
        self._suspected.discard(container)

    def _close(self, container: str) -> None:
        watched = self._watched.pop(container, None)
        if watched is not None:
            asyncio.get_running_loop().remove_reader(watched.event)
            for descriptor in (watched.event, watched.control):
                os.close(descriptor)


def _kills(folder: Path) -> int | None:
    """Return how many processes of a group were killed for memory, None when it is gone."""
    try:
        text = (folder / "memory.oom_control").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)
