"""The probes of one pod's containers while they run: tasks that ask, and what they find kept in the containers' slots.

A startup probe comes alone; when it has succeeded the others begin. A verdict against a container's life is left as its
doom, for the worker to act on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.objects.pods import Probe
from orch_agent.pods.host import PodHost
from orch_agent.pods.slot import Role, Slot
from orch_agent.probes.health import Doom
from orch_agent.probes.outcome import Outcome, ProbeError, ProbeKind, ProbeTarget
from orch_agent.probes.thresholds import Tally, next_delay

_ASKED: Final = Counter("orch_agent_probes_total", "Probes of containers, by kind and outcome.", ["kind", "outcome"])
_VITAL: Final = frozenset({ProbeKind.STARTUP, ProbeKind.LIVENESS})

_Key = tuple[str, ProbeKind]


class PodProbes:
    """Asks the containers of one pod. `changed` is called whenever a verdict changed something."""

    __slots__ = ("_asking", "_changed", "_host", "_target_of")

    def __init__(
        self, host: PodHost, target_of: Callable[[Slot], ProbeTarget | None], changed: Callable[[], None]
    ) -> None:
        self._host = host
        self._target_of = target_of
        self._changed = changed
        self._asking: dict[_Key, tuple[str, asyncio.Task[None]]] = {}

    def follow(self, slots: Sequence[Slot], *, ending: bool = False) -> None:
        """Ask those that run, and no others. Of a pod that is `ending` only readiness is asked."""
        wanted: dict[_Key, tuple[str, Slot, Probe]] = {}
        for slot in slots:
            if slot.role is Role.EPHEMERAL or slot.current is None or not slot.running:
                continue
            for kind in ProbeKind:
                probe = kind.of(slot.container)
                its_turn = slot.health.started is not (kind is ProbeKind.STARTUP)
                left_alone = kind in _VITAL and (ending or slot.health.doom is not None)
                if probe is not None and its_turn and not left_alone:
                    wanted[slot.container.name, kind] = (slot.current.id, slot, probe)
        for key, (container, task) in list(self._asking.items()):
            if key not in wanted or wanted[key][0] != container:
                task.cancel()
                del self._asking[key]
            elif task.done():
                del self._asking[key]
                task.result()  # a mistake of ours is the worker's: it starts anew
        for key, (container, slot, probe) in wanted.items():
            if key not in self._asking:
                task = asyncio.create_task(self._ask(slot, key[1], probe), name=f"{key[1].value} of {key[0]}")
                task.add_done_callback(lambda _: self._changed())
                self._asking[key] = container, task

    async def close(self) -> None:
        """Ask no longer."""
        tasks = [task for _, task in self._asking.values()]
        self._asking.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, slot: Slot, kind: ProbeKind, probe: Probe) -> None:
        clock: Clock = self._host.clock
        target = self._target_of(slot)
        if target is None:
            return
        since = (clock.now() - target.started_at).total_seconds()
        await clock.sleep(max(probe.initial_delay_seconds - since, 0))
        tally = Tally(probe)
        while (target := self._target_of(slot)) is not None:
            begun = clock.monotonic()
            well = await self._ask_once(target, kind, probe)
            verdict = tally.take(well) if well is not None else None
            if verdict is not None and self._judge(slot, kind, probe, verdict):
                return
            await clock.sleep(next_delay(clock.monotonic() - begun, max(probe.period_seconds, 1)))

    async def _ask_once(self, target: ProbeTarget, kind: ProbeKind, probe: Probe) -> bool | None:
        """Return whether the container is well, None when it could not be asked."""
        outlet, name = self._host.outlet, target.container.name
        try:
            result = await self._host.prober.probe(target, kind, probe)
        except ProbeError as error:
            _ASKED.labels(kind.value, "error").inc()
            message = f"{kind.value} probe errored and resulted in unknown state: {error}"
            outlet.event(target.pod, name, "Warning", "Unhealthy", message)
            return None
        _ASKED.labels(kind.value, result.outcome.value).inc()
        if result.outcome is Outcome.WARNING:
            outlet.event(target.pod, name, "Warning", "ProbeWarning", f"{kind.value} probe warning: {result.output}")
        elif result.outcome is Outcome.FAILURE:
            outlet.event(target.pod, name, "Warning", "Unhealthy", f"{kind.value} probe failed: {result.output}")
        return result.outcome is not Outcome.FAILURE

    def _judge(self, slot: Slot, kind: ProbeKind, probe: Probe, well: bool) -> bool:
        """Take a verdict in; return whether this probe has nothing more to ask."""
        health = slot.health
        if kind is ProbeKind.READINESS:
            if health.ready is not well:
                health.ready = well
                self._changed()
            return False
        if not well:
            message = f"Container {slot.container.name} failed {kind.value.lower()} probe"
            health.doom = Doom(message=message, grace=probe.termination_grace_period_seconds)
        elif kind is ProbeKind.STARTUP:
            health.started = True
        return kind is ProbeKind.STARTUP or not well
