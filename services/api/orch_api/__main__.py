"""`orch-api --config FILE`: the api service."""

from __future__ import annotations

from orch.runtime.service import connect_bus, connect_store, run_service
from orch_api import processes, site
from orch_api.config import ApiConfig
from orch_api.wiring import build


async def serve(config: ApiConfig) -> None:
    """Run until cancelled."""
    if config.processes > 1:
        await processes.supervise(config.processes)
        return
    store = await connect_store(config.etcd)
    bus = await connect_bus(config.nats)
    try:
        await site.serve(build(store, bus, config), config)
    finally:
        await bus.close()
        await store.close()


def main() -> None:
    """Start the service."""
    run_service("api", serve, ApiConfig)


if __name__ == "__main__":
    main()
