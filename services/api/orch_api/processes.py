"""Further api processes on the same port: the first one starts them again when they end, and stops them with itself.

Each is a whole api process with its own cache; the kernel spreads connections among them (SO_REUSEPORT).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Final

from prometheus_client import Counter

log = logging.getLogger(__name__)

RESTARTS: Final = Counter("orch_api_process_restarts", "Api processes that ended and were started again")

_FIRST_BACKOFF: Final = 0.2
_LAST_BACKOFF: Final = 10.0
_STOP_SECONDS: Final = 8.0
_CHILD: Final = {"ORCH_API_PROCESSES": "1"}


async def supervise(count: int) -> None:
    """Run `count` further processes with this one's arguments until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(1, count + 1):
            tasks.create_task(_keep(number), name=f"api process {number}")


async def _keep(number: int) -> None:
    backoff = _FIRST_BACKOFF
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orch_api", *sys.argv[1:], env={**os.environ, **_CHILD}
        )
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            await _stop(child)
            raise
        RESTARTS.inc()
        backoff = _FIRST_BACKOFF if loop.time() - started > 2 * _LAST_BACKOFF else min(backoff * 2, _LAST_BACKOFF)
        log.warning("api process %d ended with code %d; starting it again in %.1f s", number, code, backoff)
        await asyncio.sleep(backoff)


async def _stop(child: asyncio.subprocess.Process) -> None:
    child.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
