"""`orch-controllers --config FILE`: all controllers; of several processes, the one that holds the lease runs them."""

from __future__ import annotations

import os
import socket
from functools import partial

from orch.clock import SystemClock
from orch.runtime.service import connect_bus, connect_store, run_service
from orch_controllers.config import ControllersConfig
from orch_controllers.process import COMPONENT, Process


async def serve(config: ControllersConfig) -> None:
    """Run until cancelled."""
    identity = config.identity or f"{socket.gethostname()}-{os.getpid()}"
    bus = await connect_bus(config.nats)
    try:
        store = await connect_store(config.etcd)
        try:
            witness = None if config.witness is None else partial(connect_bus, config.witness)
            await Process(bus, store, config, SystemClock(), identity, witness).run()
        finally:
            await store.close()
    finally:
        await bus.close()


def main() -> None:
    """Start the service."""
    run_service(COMPONENT, serve, ControllersConfig)


if __name__ == "__main__":
    main()
