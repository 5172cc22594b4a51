"""Watches end soon after their right to watch does.

A watch is authorized when it begins, and may go on for an hour. When a role or a binding changes, every watch that
stands is asked about again, a moment later and all at once: a decision takes microseconds. Where somebody else is
asked, whose mind may change without any change here, all are asked about again from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock
from orch_api.auth.attributes import Attributes, Verdict
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import MASTERS, Caller

log = logging.getLogger(__name__)

ENDED: Final = Counter("orch_api_watches_revoked", "Watches that were ended because they were permitted no more")

_PAUSE: Final = 0.5
"""Seconds in which changes gather: many objects of one manifest are one change."""
_PERIOD: Final = 60.0
_IN_ONE_GO: Final = 200
"""Decisions after which other tasks get their turn."""


class Standing:
    """One watch. `revoked` is set, with the verdict, when it is permitted no more."""

    __slots__ = ("caller", "revoked", "verdict", "wanted")

    def __init__(self, caller: Caller, wanted: Attributes) -> None:
        self.caller = caller
        self.wanted = wanted
        self.verdict: Verdict | None = None
        self.revoked = asyncio.Event()


class Vigil:
    """Looks after the watches of a process."""

    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._clock = clock
        self._standing: dict[Standing, None] = {}
        self._changed = asyncio.Event()
        authorizer.on_change(self._changed.set)

    @contextmanager
    def over(self, caller: Caller, wanted: Attributes) -> Generator[Standing]:
        """Look after a watch as long as the context lasts."""
        standing = Standing(caller, wanted)
        if MASTERS in caller.groups:  # who may everything keeps that
            yield standing
            return
        self._standing[standing] = None
        try:
            yield standing
        finally:
            del self._standing[standing]

    async def run(self) -> None:
        """Ask again after changes, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._remind(), name="vigil's reminder")
            while True:
                await self._changed.wait()
                await self._clock.sleep(_PAUSE)
                self._changed.clear()
                await self.look()

    async def look(self) -> None:
        """Ask about every watch, and end those that are permitted no more."""
        for number, standing in enumerate(list(self._standing), start=1):
            verdict = await self._authorizer.judge(standing.caller, standing.wanted)
            if not verdict.allowed and not verdict.error:
                standing.verdict = verdict
                standing.revoked.set()
                ENDED.inc()
            if number % _IN_ONE_GO == 0:
                await asyncio.sleep(0)

    async def _remind(self) -> None:
        while True:
            await self._clock.sleep(_PERIOD)
            if self._authorizer.asks_others:
                self._changed.set()
