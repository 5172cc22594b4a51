"""What the containers of a CRI runtime use: read from their control groups, which cost the runtime nothing.

CRI's own statistics are asked for what a group does not tell, the disk, and for containers whose group is not where it
is expected: containerd names it by the container, others may not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from orch.clock import Clock
from orch_agent.runtimes.cgroups import GroupError, Hierarchy
from orch_agent.runtimes.cri.configuration import log_file, log_folder
from orch_agent.runtimes.cri.connection import LIST_CONTAINER_STATS, LIST_CONTAINERS, Connection
from orch_agent.runtimes.oom import OomWatch
from orch_agent.runtimes.protocol import (
    LABEL_GROUP,
    LABEL_NODE,
    ContainerError,
    ContainerInfo,
    ContainerSpec,
    Identity,
    Layers,
    Limits,
    State,
    Usage,
)
from orch_agent.runtimes.readings import Measured, Readings
from orch_agent.stats.disk import measure
from orch_agent.stats.model import DiskUse
from orch_pb.cri import api_pb2

_LOG: Final = logging.getLogger(__name__)
_ASK_AGAIN: Final = 10.0
"""Seconds for which the containers that run are those that ran; the group of one that ended is gone by itself."""


class Measures:
    """The use of one node's containers."""

    def __init__(self, connection: Connection, node: str, clock: Clock, *, cgroup_parent: str, logs: Path) -> None:
        self._connection = connection
        self._filter = {LABEL_NODE: node}
        self._clock = clock
        self._cgroup_parent = cgroup_parent
        self._logs = logs
        self._hierarchy = Hierarchy()
        self.unified = self._hierarchy.unified
        self._ooms = OomWatch(self._hierarchy)
        self._parents: dict[str, str] = {}
        self._limits: dict[str, Limits] = {}
        self._readings = Readings(self._hierarchy, clock)
        self._running: tuple[float, list[Measured]] | None = None
        self._starts = 0

    def close(self) -> None:
        """Let go of watches."""
        self._ooms.close()

    def created(self, container: str, spec: ContainerSpec) -> None:
        """Know a container that was created."""
        self._parents[container] = spec.cgroup_parent
        self._limits[container] = spec.limits

    async def started(self, container: str) -> None:
        """Watch a container that was started, and set what CRI has no field for."""
        self._ooms.add(container, self._group_of(container))
        limits = self._limits.pop(container, None)
        if limits is not None and limits.pids and not self.unified:
            try:
                await asyncio.to_thread(self._hierarchy.apply, self._group_of(container), limits)
            except GroupError as error:
                _LOG.warning("container %s may have more processes than it should: %s", container, error)
        self._starts += 1
        self._running = None

    def removed(self, container: str) -> None:
        """Forget a container."""
        self._ooms.forget(container)
        self._parents.pop(container, None)
        self._limits.pop(container, None)

    def with_oom(self, info: ContainerInfo) -> ContainerInfo:
        """Return the container with what its group's events told; a runtime may have missed that memory ran out."""
        self._parents.setdefault(info.id, info.cgroup_parent)
        if info.state is State.RUNNING:
            self._ooms.add(info.id, self._group_of(info.id))
        hit = info.state is State.EXITED and self._ooms.was_hit(info.id, info.exit_code)
        return msgspec.structs.replace(info, oom_killed=True) if hit else info

    async def usage(self) -> list[Usage]:
        """Return what the running containers have used."""
        running = await self._measured()
        found = await asyncio.to_thread(self._readings.take, running)
        missing = {each.id for each in running} - {each.id for each in found}
        if missing:
            found += [each for each in await self._of_runtime() if each.id in missing]
        return found

    async def layers(self) -> list[Layers]:
        """Return what containers take of the disk."""
        found: list[Layers] = []
        for stats in await self._stats():
            identity = Identity.from_labels(stats.attributes.labels)
            if identity is None:
                continue
            log = self._logs / log_folder(identity) / log_file(identity)
            logs = await asyncio.to_thread(_log_files, log)
            layer = DiskUse(stats.writable_layer.used_bytes.value, stats.writable_layer.inodes_used.value)
            found.append(Layers(identity, stats.attributes.id, layer, logs))
        return found

    async def resize(self, container: str, limits: Limits) -> None:
        """Let a running container use more or less."""
        try:
            await asyncio.to_thread(self._hierarchy.apply, self._group_of(container), limits)
        except GroupError as error:
            raise ContainerError(str(error)) from error

    def _group_of(self, container: str) -> str:
        return f"{self._parents.get(container) or self._cgroup_parent}/{container}"

    async def _measured(self) -> list[Measured]:
        """Return what runs. The runtime is asked now and then and when a container was started."""
        now, starts = self._clock.monotonic(), self._starts
        if self._running is not None and now - self._running[0] <= _ASK_AGAIN:
            return self._running[1]
        request = api_pb2.ListContainersRequest(filter=api_pb2.ContainerFilter(label_selector=self._filter))
        found: list[Measured] = []
        for each in (await self._connection.call(LIST_CONTAINERS, request)).containers:
            identity = Identity.from_labels(each.labels)
            if identity is not None and each.state == api_pb2.CONTAINER_RUNNING:
                self._parents.setdefault(each.id, each.labels.get(LABEL_GROUP, ""))
                found.append(Measured(each.id, identity, self._group_of(each.id)))
        self._running = (now, found) if starts == self._starts else None
        return found

    async def _of_runtime(self) -> list[Usage]:
        found: list[Usage] = []
        for stats in await self._stats():
            identity = Identity.from_labels(stats.attributes.labels)
            if identity is not None and stats.HasField("cpu"):
                cpu, memory = stats.cpu.usage_core_nano_seconds.value, stats.memory.working_set_bytes.value
                found.append(Usage(identity, cpu, memory, stats.attributes.id))
        return found

    async def _stats(self) -> Sequence[api_pb2.ContainerStats]:
        request = api_pb2.ListContainerStatsRequest(filter=api_pb2.ContainerStatsFilter(label_selector=self._filter))
        return (await self._connection.call(LIST_CONTAINER_STATS, request)).stats


def _log_files(newest: Path) -> DiskUse:
    """Return what a log takes together with the older ones that its rotation has left beside it."""
    total = DiskUse()
    for path in newest.parent.glob(f"{newest.name}*"):
        total += measure(str(path))
    return total
