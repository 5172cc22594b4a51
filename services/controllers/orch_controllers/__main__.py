"""`orch-controllers --config FILE`: all controllers; of several processes, the one that holds the lease runs them."""

from __future__ import annotations

import asyncio
import os
import socket

from orch.clock import SystemClock
from orch.runtime.client import BusClient
from orch.runtime.events import EventRecorder
from orch.runtime.informer import Informers
from orch.runtime.leader import LeaderElector
from orch.runtime.service import connect_bus, connect_store, run_service
from orch_controllers.config import ControllersConfig
from orch_controllers.context import Context
from orch_controllers.heartbeats import Heartbeats
from orch_controllers.registry import controllers

COMPONENT = "controllers"


async def serve(config: ControllersConfig) -> None:
    """Run until cancelled. Informers are kept warm by a standby too."""
    clock = SystemClock()
    identity = config.identity or f"{socket.gethostname()}-{os.getpid()}"
    bus = await connect_bus(config.nats)
    store = await connect_store(config.etcd)
    try:
        elector = LeaderElector(store, COMPONENT, identity, ttl=config.lease_ttl, clock=clock)
        client = BusClient(bus, fence=elector if config.leader_election else None)
        recorder = EventRecorder(client, "controllers", clock)
        informers = Informers(bus)
        heartbeats = Heartbeats(bus, clock)
        context = Context(client, informers, recorder, heartbeats, clock, config)
        running = controllers(context)

        async def lead() -> None:
            await elector.wait_informed(informers.wait_seen)
            async with asyncio.TaskGroup() as tasks:
                for controller in running:
                    tasks.create_task(controller.run(informers, clock))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informers.run())
            tasks.create_task(recorder.run())
            tasks.create_task(heartbeats.run())
            await informers.wait_synced(60)
            await (elector.run(lead) if config.leader_election else lead())
    finally:
        await store.close()
        await bus.close()


def main() -> None:
    """Start the service."""
    run_service(COMPONENT, serve, ControllersConfig)


if __name__ == "__main__":
    main()
