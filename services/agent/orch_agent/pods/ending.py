"""Ends containers as kubelet does: the preStop hook, the stop signal, and SIGKILL when their time is over.

All of it shares one deadline. Sidecars run their hooks with the others, and get their signal when all that stand
before them are gone: first the main containers, then the sidecars, the last one first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch_agent.pods.hooks import HookError
from orch_agent.pods.host import PodHost
from orch_agent.pods.slot import Role, Slot
from orch_agent.probes.outcome import ProbeTarget
from orch_agent.runtimes.protocol import ContainerError

_LOG: Final = logging.getLogger(__name__)
_HOOK_FAILURES: Final = Counter("orch_agent_hook_failures_total", "Hooks of containers that failed, by hook.", ["hook"])
_POLL: Final = 1.0
_KILL_PATIENCE: Final = 10.0
_LEAST_WINDOW: Final = 2.0
"""What a container has after its stop signal, even when its hook took all the time."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What ending containers needs of their worker.

    `look` takes in what still runs; `pause` waits to be woken, so many seconds at most, and `wake` does that; `fenced`
    tells whether the pod must not run a moment longer.
    """

    look: Callable[[], Awaitable[None]]
    pause: Callable[[float], Awaitable[None]]
    wake: Callable[[], None]
    target_of: Callable[[Slot], ProbeTarget | None]
    fenced: Callable[[], bool]


class _Leaver:
    """A container on its way out."""

    def __init__(self, slot: Slot, hook: asyncio.Task[None] | None) -> None:
        self.slot = slot
        self.hook = hook
        self.asked: float | None = None
        self.killed: float | None = None


class Endings:
    """Ends containers of one pod."""

    __slots__ = ("_around", "_host")

    def __init__(self, host: PodHost, surroundings: Surroundings) -> None:
        self._host = host
        self._around = surroundings

    async def end(self, slots: Sequence[Slot], until: Callable[[], float]) -> None:
        """End containers by a deadline, which may move: of the monotonic clock, as the other one may be set meanwhile.

        A pod that is fenced has no hooks and not a moment to spare.

        Raises ContainerError if they stay.
        """
        await self._around.look()
        fenced = self._around.fenced()
        leavers = [_Leaver(slot, None if fenced else self._begin_hook(slot)) for slot in slots if slot.running]
        hooks = [leaver.hook for leaver in leavers if leaver.hook is not None]
        try:
            while leavers:
                now, fenced = self._host.clock.monotonic(), self._around.fenced()
                deadline, window = (now, 0.0) if fenced else (until(), _LEAST_WINDOW)
                for leaver in leavers:
                    await self._advance(leaver, leavers, now, deadline, window)
                await self._around.pause(_left(leavers, now, deadline, window))
                await self._around.look()
                leavers = [leaver for leaver in leavers if leaver.slot.running]
        finally:
            for hook in hooks:
                hook.cancel()
            await asyncio.gather(*hooks, return_exceptions=True)

    async def _advance(
        self, leaver: _Leaver, all_of_them: Sequence[_Leaver], now: float, deadline: float, window: float
    ) -> None:
        """Do what is due to one container."""
        runtime, current = self._host.runtime, leaver.slot.current
        if current is None:
            return
        if leaver.asked is None:
            prepared = leaver.hook is None or leaver.hook.done()
            if now >= deadline or (prepared and _has_turn(leaver, all_of_them)):
                if leaver.hook is not None:
                    leaver.hook.cancel()
                await runtime.terminate(current.id)
                leaver.asked = now
        if leaver.asked is not None and leaver.killed is None and now >= max(deadline, leaver.asked + window):
            await runtime.kill(current.id)
            leaver.killed = now
        elif leaver.killed is not None and now - leaver.killed > _KILL_PATIENCE:
            name = leaver.slot.container.name
            raise ContainerError(f"container {name} still runs {_KILL_PATIENCE:.0f} s after SIGKILL")

    def _begin_hook(self, slot: Slot) -> asyncio.Task[None] | None:
        lifecycle = slot.container.lifecycle
        if lifecycle is None or lifecycle.pre_stop is None:
            return None
        task = asyncio.create_task(self._run_hook(slot), name=f"preStop of {slot.container.name}")
        task.add_done_callback(lambda _: self._around.wake())
        return task

    async def _run_hook(self, slot: Slot) -> None:
        target, lifecycle = self._around.target_of(slot), slot.container.lifecycle
        if target is None or lifecycle is None or lifecycle.pre_stop is None:
            return
        try:
            await self._host.hooks.run(target, lifecycle.pre_stop)
        except HookError as error:
            _HOOK_FAILURES.labels("preStop").inc()
            _LOG.debug("%s", error)  # what a hook wrote may be secret: the event does not say it either
            self._host.outlet.event(
                target.pod, slot.container.name, "Warning", "FailedPreStopHook", "PreStopHook failed"
            )


def _has_turn(leaver: _Leaver, leavers: Sequence[_Leaver]) -> bool:
    """Tell whether all that must end before a container have done so."""
    if leaver.slot.role is not Role.SIDECAR:
        return True
    if any(other.slot.role is Role.MAIN for other in leavers):
        return False
    return leaver is [other for other in leavers if other.slot.role is Role.SIDECAR][-1]


def _left(leavers: Sequence[_Leaver], now: float, deadline: float, window: float) -> float:
    """Return for how long nothing will be due unless something happens."""
    moments = [max(deadline, leaver.asked + window) for leaver in leavers if leaver.asked is not None]
    if any(leaver.asked is None for leaver in leavers):
        moments.append(deadline)
    return min([_POLL, *(moment - now for moment in moments if moment > now)])
