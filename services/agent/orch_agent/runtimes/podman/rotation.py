"""Keeps what containers wrote before conmon began their log anew, as many files as are wanted and no more.

conmon itself sees to it that a log never grows past its size, however fast it is written: a fresh file takes the old
one's name, and the old one is lost. Here each file is given a second name while it is written, by which it stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import OrchError

_LOG: Final = logging.getLogger(__name__)
_ROTATED: Final = Counter("orch_agent_podman_logs_rotated_total", "Files that logs of containers were begun with.")
_INTERVAL: Final = 1.0


class LogRotation:
    """The logs of one node's containers, of which `logs` returns those that are written now."""

    def __init__(self, logs: Callable[[], Awaitable[Sequence[str]]], clock: Clock, most_files: int) -> None:
        self._logs = logs
        self._clock = clock
        self._most_files = most_files

    async def run(self) -> None:
        """Look at the logs every second, for ever."""
        while True:
            try:
                logs = await self._logs()
                await asyncio.to_thread(self._keep, logs)
            except (OSError, OrchError) as error:
                _LOG.warning("logs are not rotated now: %s", error)
            await self._clock.sleep(_INTERVAL)

    def _keep(self, logs: Sequence[str]) -> None:
        now = self._clock.now()
        for path in logs:
            try:
                if keep(path, self._most_files, now):
                    _ROTATED.inc()
            except OSError as error:  # such as a container that was removed meanwhile
                _LOG.debug("log %s is not kept now: %s", path, error)


def keep(log: str, most_files: int, now: datetime) -> bool:
    """Give the file that is written now a name by which it stays, and remove the oldest; False if it has one."""
    if os.stat(log).st_nlink > 1:  # noqa: PTH116 - of each log, every second: a Path costs more than the look
        return False
    path = Path(log)
    # Names grow with their age; two of the same second differ in what follows it.
    path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S.%f}").hardlink_to(path)
    kept = sorted(path.parent.glob(f"{path.name}.2*"))
    for each in kept[: max(len(kept) - most_files, 0)]:
        each.unlink(missing_ok=True)
    return True
