"""Keeps a running cluster's certificates and the bus's configuration what they have to be, without a restart.

Servers take both up by themselves or are told: the api looks at its files, etcd reads its own for every connection,
NATS is told by SIGHUP. No connection ends by that, except of those who may connect no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orch.errors import OrchError
from orch_cli.cluster import Cluster
from orch_cli.pki import write_private
from orch_cli.process import Pid

_log = logging.getLogger(__name__)

_TICK: Final = 0.1
_LOOK_AT_CERTIFICATES: Final = 3600.0
"""Seconds; certificates are made anew weeks before they end."""
_AGAIN: Final = 30.0
"""Seconds until what failed is tried once more."""

Seen = tuple[int, int, int]


class Upkeep:
    """Follows the file of the nodes' keys and the bus's certificate. `nats`: the process of the NATS server."""

    def __init__(self, cluster: Cluster, nats: Callable[[], Pid | None]) -> None:
        self._cluster = cluster
        self._nats = nats
        self._seen: tuple[Seen, ...] = ()

    async def run(self) -> None:
        """Look again and again, for ever."""
        due = time.monotonic() + _LOOK_AT_CERTIFICATES
        self._seen = self._look()
        while True:
            await asyncio.sleep(_TICK)
            try:
                if time.monotonic() >= due:
                    await asyncio.to_thread(self._cluster.identities)
                    due = time.monotonic() + _LOOK_AT_CERTIFICATES
                now = self._look()
                if now != self._seen:
                    await asyncio.to_thread(self._configure)
                    self._seen = now
            except (OrchError, OSError, ValueError) as error:
                _log.warning("certificates and the bus are as they were, next try in %g s: %s", _AGAIN, error)
                await asyncio.sleep(_AGAIN)

    def _configure(self) -> None:
        """Write the server's configuration, and have a server that runs read it."""
        write_private(self._cluster.layout.nats_config, self._cluster.bus_config(self._cluster.identities()))
        nats = self._nats()
        if nats is not None and nats.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(nats.pid, signal.SIGHUP)

    def _look(self) -> tuple[Seen, ...]:
        layout = self._cluster.layout
        files = (layout.bus_keys, layout.pki / "nats-server.crt", layout.pki / "ca.crt")
        return tuple(seen(file) for file in files)


def seen(file: Path) -> Seen:
    """Return what of a file changes when it does."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
