"""The agent's entry point: `orch-agent --config FILE`."""

from __future__ import annotations

from orch.clock import SystemClock
from orch.runtime.service import connect_bus, run_service
from orch_agent.agent import run_agent
from orch_agent.config import AgentConfig


async def _main(config: AgentConfig) -> None:
    config.check()
    bus = await connect_bus(config.nats)
    try:
        await run_agent(config, bus, SystemClock())
    finally:
        await bus.close()


def main() -> None:
    """Run the agent until it is told to stop."""
    run_service("agent", _main, AgentConfig)


if __name__ == "__main__":
    main()
