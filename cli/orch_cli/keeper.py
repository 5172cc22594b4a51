"""`orch prepare --keep`: keeps a cluster of containers in certificates for as long as it runs, without a restart.

It prepares again every hour, and as soon as somebody has changed a certificate or `orch prepare` was run beside it. The
api, etcd and the services find what is new in their folders by themselves. The NATS server has to be told: the keeper
shares its process namespace (`pid: service:nats`), where the server is the first process, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from typing import Final

from orch.clock import Clock, SystemClock
from orch.errors import OrchError
from orch_cli.layout import Layout
from orch_cli.prepare import NATS, Plan, prepare
from orch_cli.upkeep import Seen, seen

_log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between two looks at the files."""
PREPARE: Final = 3600.0
"""Seconds; certificates are made anew weeks before they end."""
_AGAIN: Final = 30.0
_SERVER: Final = 1


def keep(layout: Layout, plan: Plan) -> int:
    """Prepare, and go on until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    prepare(layout, plan)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_signalled(Keeper(layout, plan)))
    return 0


class Keeper:
    """Looks after the folders of one cluster. `reload` tells the NATS server that its files have changed."""

    def __init__(
        self, layout: Layout, plan: Plan, *, clock: Clock | None = None, reload: Callable[[], None] | None = None
    ) -> None:
        self._layout = layout
        self._plan = plan
        self._clock: Clock = clock or SystemClock()
        self._reload = reload or _tell_server

    async def run(self) -> None:
        """Look again and again, for ever."""
        made, served = self._certificates(), self._servers()
        due = self._clock.monotonic() + PREPARE
        while True:
            await self._clock.sleep(LOOK)
            try:
                if self._clock.monotonic() >= due or self._certificates() != made:
                    await asyncio.to_thread(prepare, self._layout, self._plan)
                    made, due = self._certificates(), self._clock.monotonic() + PREPARE
                if self._servers() != served:
                    self._reload()
                    served = self._servers()
            except (OrchError, OSError, ValueError) as error:
                _log.warning("certificates are as they were, next try in %g s: %s", _AGAIN, error)
                await self._clock.sleep(_AGAIN)

    def _certificates(self) -> dict[str, Seen]:
        return {str(file): seen(file) for file in self._layout.pki.rglob("*.crt")}

    def _servers(self) -> tuple[Seen, ...]:
        return tuple(seen(self._layout.root / NATS / name) for name in ("nats.conf", "server.crt", "ca.crt"))


def _tell_server() -> None:
    """Have the NATS server read its files again; one that is not there reads them when it starts."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(_SERVER, signal.SIGHUP)
        _log.info("the NATS server reads its configuration and its certificate again")


async def _until_signalled(keeper: Keeper) -> None:
    running = asyncio.ensure_future(keeper.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    await running
