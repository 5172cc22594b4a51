"""A runtime that does not answer: the node says so when it has been long enough, and no longer once it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from orch.clock import ManualClock
from orch.errors import UnavailableError
from orch_agent.health import RuntimeHealth
from orch_agent.node import Machine, Node, NodeSettings
from orch_agent.runtimes.simulated import SimulatedRuntime


class Moody:
    """A runtime that answers, refuses connections, or says nothing."""

    def __init__(self) -> None:
        self.mood = self.listing = "answers"
        self.asked = 0
        self.waiting = 0

    async def version(self) -> str:
        return await self._answer(self.mood)

    async def containers(self, uid: str = "") -> str:
        return await self._answer(self.listing)

    async def _answer(self, mood: str) -> str:
        self.asked += 1
        if mood == "refuses":
            raise UnavailableError("Podman does not answer on podman.sock: Connection refused")
        self.waiting += 1
        try:
            if mood == "hangs":
                await asyncio.get_running_loop().create_future()
        finally:
            self.waiting -= 1
        return "podman://4.3.1"


@asynccontextmanager
async def watched(runtime: Moody, clock: ManualClock) -> AsyncGenerator[RuntimeHealth]:
    health = RuntimeHealth(runtime, clock)
    watching = asyncio.create_task(health.run())
    await clock.advance(0)
    yield health
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert runtime.waiting == 0


@pytest.mark.parametrize("mood", ["refuses", "hangs"])
async def test_it_is_down_when_it_has_been_silent_for_half_a_minute(mood: str) -> None:
    runtime, clock = Moody(), ManualClock()
    async with watched(runtime, clock) as health:
        await clock.advance(60)
        assert health.problem == ""
        runtime.mood = runtime.listing = mood
        await clock.advance(25)
        assert health.problem == ""
        await clock.advance(10)
        assert health.problem == "container runtime is down"
        await clock.advance(200)
        assert health.problem.startswith("[container runtime is down, PLEG is not healthy: pleg was last seen active ")
        assert health.problem.endswith(" ago; threshold is 3m0s]")
        runtime.mood = runtime.listing = "answers"
        await clock.advance(190)
        assert health.problem == ""


async def test_a_runtime_that_answers_and_lists_nothing_is_not_healthy() -> None:
    runtime, clock = Moody(), ManualClock()
    async with watched(runtime, clock) as health:
        runtime.listing = "hangs"
        await clock.advance(170)
        assert health.problem == ""
        await clock.advance(45)
        assert health.problem.startswith("PLEG is not healthy: pleg was last seen active 3m")


async def test_it_is_not_asked_without_end() -> None:
    runtime, clock = Moody(), ManualClock()
    async with watched(runtime, clock):
        runtime.mood = runtime.listing = "hangs"
        runtime.asked = 0
        await clock.advance(600)
        assert runtime.asked < 25


def test_the_node_says_so() -> None:
    clock = ManualClock()
    runtime = SimulatedRuntime(clock)
    node = Node(NodeSettings(name="node-1", address="192.0.2.1", pod_cidr=""), Machine.here("/", "podman://4"), runtime)

    def ready() -> dict[str, Any]:
        document = msgspec.json.decode(node.document(clock.now()))
        return next(each for each in document["status"]["conditions"] if each["type"] == "Ready")

    well = node.fingerprint()
    assert ready()["status"] == "True"
    node.runtime_problem = lambda: "container runtime is down"
    assert node.fingerprint() != well
    told = ready()
    assert (told["status"], told["reason"]) == ("False", "KubeletNotReady")
    assert told["message"] == "container runtime is down"
    node.runtime_problem = lambda: ""
    assert node.fingerprint() == well
    assert ready()["status"] == "True"
