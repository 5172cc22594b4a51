from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator

import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.subjects import HEARTBEATS, heartbeat_subject
from orch.clock import ManualClock
from orch_controllers.heartbeats import Heartbeats

GRACE = 5.0


class World:
    """One node and who listens to it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.broker = MemoryBroker(clock=clock)
        self.node = self.broker.connect("system:node:one")
        self.heartbeats = Heartbeats(self.broker.connect("system:kube-controller-manager"), clock, GRACE)

    async def beat(self, seconds: int) -> None:
        """Let time pass, with a heartbeat a second."""
        for _ in range(seconds):
            await self.node.publish(heartbeat_subject("one"), b"")
            await self.clock.advance(1)

    async def wait(self, seconds: int) -> None:
        """Let time pass in silence."""
        for _ in range(seconds * 4):
            await self.clock.advance(0.25)

    @property
    def lost(self) -> bool:
        return self.heartbeats.silence("one") > GRACE


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[World]:
    world = World(clock)
    await world.node.ensure_stream(HEARTBEATS)
    task = asyncio.create_task(world.heartbeats.run())
    await world.wait(1)
    yield world
    task.cancel()
    await asyncio.wait((task,))


async def test_a_node_is_lost_after_its_grace_period(world: World) -> None:
    await world.beat(10)
    assert not world.lost
    assert world.heartbeats.heard("one")
    await world.wait(4)
    assert not world.lost
    await world.wait(2)
    assert world.lost


async def test_a_node_that_was_never_heard_is_given_time_too(world: World) -> None:
    await world.wait(3)
    assert not world.lost
    assert not world.heartbeats.heard("one")
    await world.wait(4)
    assert world.lost


async def test_while_the_bus_is_away_nobody_is_silent(world: World) -> None:
    await world.beat(3)
    world.broker.stop()
    for _ in range(20):
        await world.wait(1)
        assert not world.lost
    world.broker.start()
    await world.wait(4)
    assert not world.lost, "heartbeats could not come before"
    await world.wait(4)
    assert world.lost, "but now they could"


async def test_what_the_stream_held_before_is_no_sign_of_life(world: World) -> None:
    await world.beat(3)
    late = Heartbeats(world.broker.connect("system:kube-controller-manager"), world.clock, GRACE)
    task = asyncio.create_task(late.run())
    await world.wait(2)
    assert not late.heard("one")
    await world.beat(1)
    assert late.heard("one")
    task.cancel()
    await asyncio.wait((task,))


async def test_a_process_that_stood_still_judges_nobody(world: World) -> None:
    await world.beat(3)
    stand_still(world.clock, 30)
    assert not world.lost
    await world.wait(3)
    assert not world.lost
    await world.wait(5)
    assert world.lost


async def test_without_their_stream_heartbeats_are_not_missed(world: World) -> None:
    await world.beat(3)
    world.broker.delete_stream(HEARTBEATS.name)
    await world.wait(20)
    assert not world.lost


def stand_still(clock: ManualClock, seconds: float) -> None:
    """Let time pass in which nothing of this process runs: whoever sleeps oversleeps."""
    now = clock.monotonic() + seconds
    clock._sleepers = [(max(due, now), order, future) for due, order, future in clock._sleepers]
    heapq.heapify(clock._sleepers)
    clock._move_to(now)
