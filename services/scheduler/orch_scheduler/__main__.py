"""`orch-scheduler --config FILE`: one scheduler; of several, the one that holds the lease schedules."""

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
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.deciders import deciders_of
from orch_scheduler.loop import Scheduler
from orch_scheduler.turn import SeenByInformers, Turn

COMPONENT = "scheduler"


async def serve(config: SchedulerConfig) -> None:
    """Run until cancelled."""
    deciders = deciders_of(config)
    clock = SystemClock()
    identity = config.identity or f"{socket.gethostname()}-{os.getpid()}"
    bus = await connect_bus(config.nats)
    store = await connect_store(config.etcd)
    try:
        elector = LeaderElector(
            store, config.lease(deciders.names[0], identity), identity, ttl=config.lease_ttl, clock=clock
        )
        client = BusClient(bus, fence=elector)
        recorder = EventRecorder(client, deciders.names[0], clock)
        informers = Informers(bus)
        turn = Turn(store, identity, elector, clock, SeenByInformers(informers))
        binding = BusClient(bus, fence=turn)
        scheduler = Scheduler(
            client, bus, informers, recorder, clock, config, binding=binding, turn=turn, deciders=deciders
        )

        async def lead() -> None:
            await elector.wait_informed(informers.wait_seen)
            await scheduler.lead()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informers.run())
            tasks.create_task(recorder.run())
            await informers.wait_synced(60)
            tasks.create_task(scheduler.answer(), name="questions")
            await elector.run(lead)
    finally:
        await store.close()
        await bus.close()


def main() -> None:
    """Start the service."""
    run_service(COMPONENT, serve, SchedulerConfig)


if __name__ == "__main__":
    main()
