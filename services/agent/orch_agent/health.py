"""Whether a node's runtime answers, in kubelet's words: what it says decides whether the node is ready.

A runtime that is away for a moment, such as while it is started again, changes nothing: it must have been silent for
30 s, and have failed to list its containers for 3 min, which it may do while it still answers. The containers go on
meanwhile, and what is known of them is told as it was.
Source: k8s.io/kubernetes/pkg/kubelet (runtime.go, pleg/generic.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final, Protocol

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import OrchError
from orch_agent.pods.slot import go_duration

_LOG: Final = logging.getLogger(__name__)
_FAILED: Final = Counter(
    "orch_agent_runtime_silence_total", "Times that the runtime did not answer a question in time, by question.", ["of"]
)
_ASK: Final = 5.0
_LIST: Final = 30.0
_PATIENCE: Final = 30.0
_LIST_PATIENCE: Final = 180.0


class Asked(Protocol):
    """What a runtime is asked."""

    async def version(self) -> str:
        """Return its name and version."""
        ...

    async def containers(self, uid: str = "") -> object:
        """Return its containers."""
        ...


class RuntimeHealth:
    """Asks one runtime, again and again."""

    def __init__(self, runtime: Asked, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._answered = self._listed = clock.monotonic()

    @property
    def problem(self) -> str:
        """Why no pods can be run now, "" while they can."""
        now, found = self._clock.monotonic(), list[str]()
        if now - self._answered > _PATIENCE:
            found.append("container runtime is down")
        if (silent := now - self._listed) > _LIST_PATIENCE:
            limit = go_duration(_LIST_PATIENCE)
            found.append(
                f"PLEG is not healthy: pleg was last seen active {go_duration(silent)} ago; threshold is {limit}"
            )
        return found[0] if len(found) == 1 else f"[{', '.join(found)}]" if found else ""

    async def run(self) -> None:
        """Ask for ever; a question that is not answered keeps no other from being asked."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask(), name="whether the runtime answers")
            tasks.create_task(self._list(), name="whether the runtime lists containers")

    async def _ask(self) -> None:
        while True:
            if await self._succeeds(self._runtime.version(), _PATIENCE, "version"):
                self._answered = self._clock.monotonic()
            await self._clock.sleep(_ASK)

    async def _list(self) -> None:
        while True:
            if await self._succeeds(self._runtime.containers(), _LIST_PATIENCE, "containers"):
                self._listed = self._clock.monotonic()
                await self._clock.sleep(_LIST)
            else:
                await self._clock.sleep(_ASK)

    async def _succeeds(self, question: Awaitable[object], patience: float, what: str) -> bool:
        """Return whether an answer comes in time."""
        asked = asyncio.ensure_future(question)
        alarm = asyncio.ensure_future(self._clock.sleep(patience))
        try:
            await asyncio.wait((asked, alarm), return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                asked.result()
                return True
            problem: object = f"no answer within {go_duration(patience)}"
        except OrchError as error:
            problem = error
        finally:
            for each in (asked, alarm):
                each.cancel()
            await asyncio.gather(asked, alarm, return_exceptions=True)
        _FAILED.labels(what).inc()
        _LOG.warning("the container runtime was asked for its %s: %s", what, problem)
        return False
