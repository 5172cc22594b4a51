"""The promise of an agent: pods that must not run twice end when nobody may have heard of their node for a while.

A heartbeat that the bus has acknowledged renews the lease, counted from before it was sent. When none was acknowledged
for the lease's whole length, the controllers may have given such pods to another node, or will soon: so they are
stopped here, and start again only after a heartbeat has come through and the api still has them here.

What is written to the file outlives the process, so that its successor knows how long the containers that it finds
may still run. The clock is the machine's: a file of an earlier boot says nothing, and then no container runs either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from orch.clock import Clock

log = logging.getLogger(__name__)

_OVER: Final = Gauge("orch_agent_lease_over", "1 while pods that must not run twice are held back, else 0.")
_ENDS: Final = Counter("orch_agent_lease_ends_total", "Times that the lease ended without having been renewed.")
_LOOK: Final = 0.25
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class NodeLease:
    """Until when the pods that live by it may run. It is one process's, for its one node or its simulated many."""

    def __init__(self, clock: Clock, seconds: float, file: Path | None = None) -> None:
        self.clock = clock
        self._file = file
        self._boot = _boot_id()
        self.seconds = seconds
        """Its length; 0: nothing is promised, and it is never over."""
        self._until = self._saved()
        self._unwritten = False

    @property
    def over(self) -> bool:
        """Whether such pods must not run now."""
        return self.seconds > 0 and self.clock.monotonic() >= self._until

    def renewed(self, asked: float) -> None:
        """Take in that a heartbeat was acknowledged that was sent after `asked`, a moment of the monotonic clock."""
        self._until = max(self._until, asked + self.seconds)
        if self._file is None:
            return
        try:
            fresh = self._file.with_suffix(".new")
            fresh.write_text(f"{self._boot} {self._until}\n")
            fresh.replace(self._file)
        except OSError as error:  # such as a full disk: what an earlier renewal wrote is on the safe side
            if not self._unwritten:
                log.warning("the lease is not written to %s: %s", self._file, error)
            self._unwritten = True
        else:
            self._unwritten = False

    async def watch(self, turned: Callable[[], None]) -> None:
        """Call `turned` whenever the lease ends or is renewed after that, for ever."""
        was = self.over  # before the first heartbeat nothing of ours runs that would have to be told
        while True:
            over = self.over
            if over != was:
                was = over
                _OVER.set(over)
                if over:
                    _ENDS.inc()
                    log.warning(
                        "no heartbeat was acknowledged for %g s: pods that must not run twice end", self.seconds
                    )
                else:
                    log.info("a heartbeat was acknowledged: all pods may run")
                turned()
            await self.clock.sleep(_LOOK)

    def _saved(self) -> float:
        """Return until when the lease of an earlier process holds; without one it begins with the first heartbeat."""
        if self._file is None:
            return 0.0
        try:
            boot, until = self._file.read_text().split()
            return float(until) if boot == self._boot else 0.0
        except FileNotFoundError:
            return 0.0
        except (OSError, ValueError) as error:
            log.warning("the lease in %s is not used: %s", self._file, error)
            return 0.0


def _boot_id() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"
