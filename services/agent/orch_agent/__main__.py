"""The agent's entry point: `orch-agent --config FILE`, or `orch-agent join …` for a machine that is no node yet."""

from __future__ import annotations

import asyncio
import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Final

from orch.bus.protocol import Bus
from orch.clock import Clock, SystemClock
from orch.errors import BusError
from orch.runtime.service import CONNECT_SECONDS, connect_bus, run_service
from orch_agent.agent import run_agent
from orch_agent.config import AgentConfig
from orch_agent.late_bus import LateBus

_PAUSE: Final = 0.2


async def _main(config: AgentConfig) -> None:
    config.check()
    clock = SystemClock()
    bus = LateBus(config.nats.user, partial(_connect, config, clock))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run(), name="connection to the bus")
            tasks.create_task(run_agent(config, bus, clock), name="agent")
            if config.identity.server:
                nats = config.nats
                # By name: an agent whose certificate others renew does without the memory that this takes.
                renewal = importlib.import_module("orch_agent.identity.renewal").CertificateRenewal(
                    config.identity.server, config.node_name, Path(nats.cert_file), Path(nats.ca_file), clock
                )
                tasks.create_task(renewal.run(), name="certificate")
    finally:
        await bus.close()


async def _connect(config: AgentConfig, clock: Clock) -> Bus:
    """Connect to the bus. One that has just been told of this node may not know it yet: it is given a moment."""
    deadline = clock.monotonic() + CONNECT_SECONDS if config.identity.server else 0.0
    while True:
        try:
            return await connect_bus(config.nats)
        except BusError:
            if clock.monotonic() > deadline:
                raise
        await clock.sleep(_PAUSE)


def main() -> None:
    """Run the agent until it is told to stop."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["join"]:
        settings = importlib.import_module("orch_agent.identity.join").join(arguments[1:])
        if settings is None:
            return
        arguments = ["--config", str(settings)]
    run_service("agent", _main, AgentConfig, arguments=arguments)


if __name__ == "__main__":
    main()
