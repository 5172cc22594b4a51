"""A whole api in one process's memory: for tests and simulations of everything that talks to it over the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Bus
from orch.bus.sealing import SealingKey
from orch.clock import Clock, SystemClock
from orch.runtime.client import BusClient, FenceSource
from orch.store.memory import MemoryStore
from orch_api.auth.identity import APISERVER_USER
from orch_api.config import ApiConfig
from orch_api.wiring import Core

ADMIN: str = "orch:admin"
LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Where the servers are that a process in memory is used with; nothing else there is to be kept from it."""


class InMemoryApi:
    """A running api with its store and its bus."""

    def __init__(self, store: MemoryStore, broker: MemoryBroker, core: Core) -> None:
        self.store = store
        self.broker = broker
        self.core = core
        self._buses: dict[str, Bus] = {APISERVER_USER: core.bus}

    def bus(self, user: str) -> Bus:
        """Return the bus as `user` sees it; one connection a user."""
        found = self._buses.get(user)
        if found is None:
            found = self._buses[user] = self.broker.connect(user)
        return found

    def client(self, user: str = ADMIN, *, fence: FenceSource | None = None) -> BusClient:
        """Return a client of the api under the rights of `user`."""
        return BusClient(self.bus(user), fence=fence, seal=SealingKey())

    async def close(self) -> None:
        """Close the connections."""
        for bus in self._buses.values():
            await bus.close()


_WITH_CONTROLLERS: Final = ("ServiceAccount", "StorageObjectInUseProtection")
"""Plugins that rely on a controller: one makes the accounts that pods need, one takes finalizers away again."""


def _without_controllers(config: ApiConfig) -> ApiConfig:
    said = {*config.enable_admission_plugins, *config.disable_admission_plugins}
    off = [name for name in _WITH_CONTROLLERS if name not in said]
    return msgspec.structs.replace(config, disable_admission_plugins=(*config.disable_admission_plugins, *off))


@asynccontextmanager
async def in_memory_api(clock: Clock | None = None, *, config: ApiConfig | None = None) -> AsyncGenerator[InMemoryApi]:
    """Run an api until the context ends. It is ready, and the system's namespaces exist.

    Its pods need no account, and its claims and volumes go at once, unless the plugins are enabled by name: no
    controller is here to make accounts and to take finalizers away. With a ManualClock, periodic work and leases stand
    still until the clock is advanced.
    """
    clock = clock or SystemClock()
    store = MemoryStore(clock)
    broker = MemoryBroker(clock=clock)
    config = _without_controllers(config or ApiConfig())
    if not config.outgoing_allowed:
        config = msgspec.structs.replace(config, outgoing_allowed=LOOPBACK)
    core = Core(store, broker.connect(APISERVER_USER), config, clock=clock, identity="memory")
    api = InMemoryApi(store, broker, core)
    running = asyncio.create_task(core.run(), name="api")
    ready = asyncio.create_task(core.wait_ready())
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        ready.result()
        yield api
    finally:
        ready.cancel()
        running.cancel()
        await asyncio.gather(ready, running, return_exceptions=True)
        await api.close()
        await store.close()
