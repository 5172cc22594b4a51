"""One process of the controllers: informers and heartbeats always, controllers while it leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from orch.bus.protocol import Bus
from orch.bus.sealing import SealingKey
from orch.clock import Clock
from orch.errors import OrchError
from orch.objects.scheme import PODS, Kind
from orch.runtime.client import BusClient
from orch.runtime.informer import Informers
from orch.runtime.leader import LeaderElector
from orch.store.protocol import Store
from orch_controllers.autoscaling.decisions import Decisions
from orch_controllers.autoscaling.usage import UsageTable
from orch_controllers.config import ControllersConfig
from orch_controllers.context import Context
from orch_controllers.disconnections import Disconnections
from orch_controllers.heartbeats import Heartbeats
from orch_controllers.kept_pods import KeptPods
from orch_controllers.leadership import take_over
from orch_controllers.recorders import Recorders
from orch_controllers.registry import DOCUMENTS, controllers
from orch_controllers.served_kinds import ServedKinds

log = logging.getLogger(__name__)

COMPONENT: Final = "controllers"
_SYNC_PATIENCE: Final = 60.0
_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 2.0


class Process:
    """The controllers of one process. A standby is warm: what it will decide on is in its memory already."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        config: ControllersConfig,
        clock: Clock,
        identity: str,
        witness: Callable[[], Awaitable[Bus]] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._identity = identity
        self._acting = False
        self._elector = LeaderElector(store, COMPONENT, identity, ttl=config.lease_ttl, clock=clock)
        fence = self._elector if config.leader_election else None
        self._client = BusClient(bus, fence=fence, seal=SealingKey(config.nats))
        self._recorders = Recorders(self._client, clock)
        self._informers = Informers(bus, documents=DOCUMENTS, keep={PODS: KeptPods()})
        self._kinds = ServedKinds(self._client, clock)
        self._heartbeats = Heartbeats(bus, clock, config.node_grace_period)
        self._disconnections = Disconnections(witness, self._informers, self._heartbeats, clock)
        self._usage = UsageTable(bus, clock)
        self._decisions = Decisions(bus, clock)
        self._controllers = controllers(
            Context(
                self._client,
                self._informers,
                self._kinds,
                self._recorders,
                self._heartbeats,
                clock,
                config,
                bus,
                self._usage,
                self._decisions,
            )
        )

    @property
    def acting(self) -> bool:
        """Whether this process leads and its controllers are at work."""
        return self._acting

    async def run(self) -> None:
        """Run until cancelled. Raises UnavailableError when the bus does not deliver the objects in time."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informers.run(), name="informers")
            tasks.create_task(self._kinds.run(), name="kinds")
            tasks.create_task(self._recorders.run(), name="events")
            tasks.create_task(self._heartbeats.run(), name="heartbeats")
            tasks.create_task(self._disconnections.run(), name="disconnections")
            tasks.create_task(self._usage.run(), name="usage")
            tasks.create_task(self._decisions.run(), name="decisions")
            await self._informers.wait_synced(_SYNC_PATIENCE)
            await (self._elector.run(self._lead) if self._config.leader_election else self._lead())

    async def _lead(self) -> None:
        await self._take_over()
        self._acting = True
        try:
            async with asyncio.TaskGroup() as tasks:
                for controller in self._controllers:
                    tasks.create_task(controller.run(self._informers, self._clock), name=controller.name)
        finally:
            self._acting = False

    async def _take_over(self) -> None:
        """Try until it succeeds: while the api is away there is nothing to be led."""
        kinds: list[Kind[Any]] = list({watch.kind for each in self._controllers for watch in each.watches})
        backoff = _FIRST_BACKOFF
        while True:
            try:
                await take_over(self._client, self._informers, kinds, self._identity, self._clock)
            except* OrchError as errors:
                log.warning("%s cannot lead yet, next try in %.1f s: %s", self._identity, backoff, errors.exceptions[0])
            else:
                return
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, _MAX_BACKOFF)
