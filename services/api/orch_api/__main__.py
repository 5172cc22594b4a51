"""`orch-api --config FILE`: the api service."""

from __future__ import annotations

import asyncio

from orch.runtime.service import connect_bus, connect_store, run_service
from orch_api import processes, site
from orch_api.config import ApiConfig
from orch_api.wiring import build


async def serve(config: ApiConfig) -> None:
    """Run until cancelled."""
    store = await connect_store(config.etcd)
    bus = await connect_bus(config.nats)
    try:
        async with asyncio.TaskGroup() as tasks:
            others = tasks.create_task(processes.supervise(config.processes - 1))
            await site.serve(build(store, bus, config), config)
            others.cancel()
    finally:
        await bus.close()
        await store.close()


def main() -> None:
    """Start the service."""
    run_service("api", serve, ApiConfig)


if __name__ == "__main__":
    main()
