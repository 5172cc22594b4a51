"""Keeps containers' logs bounded: CRI has the runtime write them, and whoever asked for them rotate them.

A log that has grown too long is renamed, as kubelet names it, and the runtime told to begin a new one.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import UnavailableError
from orch_agent.runtimes.cri.configuration import log_file, log_folder
from orch_agent.runtimes.cri.connection import LIST_CONTAINERS, REOPEN_CONTAINER_LOG, Connection
from orch_agent.runtimes.protocol import LABEL_NODE, ContainerError, Identity
from orch_pb.cri import api_pb2

_LOG: Final = logging.getLogger(__name__)
_ROTATED: Final = Counter("orch_agent_cri_logs_rotated_total", "Logs of containers that were begun anew.")
_FAILED: Final = Counter("orch_agent_cri_log_rotation_failures_total", "Logs that could not be begun anew.")
_INTERVAL: Final = 10.0


class LogRotation:
    """The logs of one node's containers below `folder`: of `most_files` each has at most about `most_bytes`."""

    def __init__(
        self, connection: Connection, node: str, clock: Clock, folder: Path, *, most_bytes: int, most_files: int
    ) -> None:
        self._connection = connection
        self._node = node
        self._clock = clock
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_files = most_files

    async def run(self) -> None:
        """Look at the logs now and then, for ever."""
        while True:
            await self._clock.sleep(_INTERVAL)
            try:
                await self.rotate()
            except (ContainerError, UnavailableError) as error:
                _LOG.warning("logs are not rotated now: %s", error)

    async def rotate(self) -> None:
        """Begin those logs anew that are too long."""
        request = api_pb2.ListContainersRequest(filter=api_pb2.ContainerFilter(label_selector={LABEL_NODE: self._node}))
        for each in (await self._connection.call(LIST_CONTAINERS, request)).containers:
            identity = Identity.from_labels(each.labels)
            if identity is None or each.state != api_pb2.CONTAINER_RUNNING:
                continue
            path = self._folder / log_folder(identity) / log_file(identity)
            try:
                if await asyncio.to_thread(_size, path) > self._most_bytes:
                    await self._begin_anew(each.id, path)
            except (OSError, ContainerError) as error:
                _FAILED.inc()
                _LOG.warning("the log of container %s is not rotated: %s", each.id, error)

    async def _begin_anew(self, container: str, path: Path) -> None:
        now = self._clock.now()
        old = path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S}")
        await asyncio.to_thread(path.rename, old)
        try:
            request = api_pb2.ReopenContainerLogRequest(container_id=container)
            await self._connection.finish(REOPEN_CONTAINER_LOG, request)
        except (ContainerError, UnavailableError):
            # The runtime goes on in the old file, which must be found under its name.
            await asyncio.to_thread(_restore, old, path)
            raise
        _ROTATED.inc()
        await asyncio.to_thread(_prune, path, self._most_files - 1)


def remove_logs(path: Path) -> None:
    """Remove a container's log with all that its rotation has left."""
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _restore(old: Path, path: Path) -> None:
    if old.exists() and not path.exists():
        old.rename(path)


def _prune(path: Path, keep: int) -> None:
    """Remove the oldest of a log's former files; their names are in the order of their age."""
    former = sorted(path.parent.glob(f"{path.name}.*"))
    for each in former[: max(len(former) - keep, 0)]:
        each.unlink(missing_ok=True)
