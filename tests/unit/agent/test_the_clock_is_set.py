"""The machine's clock jumps, forward or back: no wait grows longer than it was meant to be, none is cut short."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from volume_node import VolumeNode, files_below

from orch.clock import ManualClock
from orch_agent.lease import NodeLease

HOUR = timedelta(hours=1)
BOTH_WAYS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])


def set_clock(clock: ManualClock, jump: timedelta) -> None:
    clock.set(clock.now() + jump)


@BOTH_WAYS
async def test_a_container_has_its_grace_period_and_no_longer(node: Any, jump: timedelta) -> None:
    stubborn = {"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=1000)}
    pod = node.pod(stubborn)
    async with node.running(pod) as worker:
        await node.clock.advance(1)
        worker.update(node.deleted(pod, grace=30), None)
        await node.clock.advance(10)
        set_clock(node.clock, jump)
        await node.clock.advance(18)
        assert not node.told.terminated
        await node.clock.advance(5)
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 137
        assert node.told.terminated


async def test_a_clock_that_goes_back_leaves_no_crash_loop_waiting(node: Any) -> None:
    async with node.running(node.pod({"name": "web", "env": node.env(SIMULATED_RUN_SECONDS=1, SIMULATED_EXIT_CODE=1)})):
        await node.clock.advance(5)
        assert node.told.container("web")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        before = node.told.container("web")["restartCount"]
        set_clock(node.clock, -HOUR)
        await node.clock.advance(80)
        assert node.told.container("web")["restartCount"] > before


async def test_a_clock_that_goes_back_leaves_no_pull_waiting(node: Any) -> None:
    async with node.running(node.pod({"name": "web", "image": "nginx:missing"})):
        await node.clock.advance(5)
        assert "Pull" in node.told.container("web")["state"]["waiting"]["reason"]
        failures = [reason for reason, _ in node.told.events].count("Failed")
        set_clock(node.clock, -HOUR)
        await node.clock.advance(90)
        assert [reason for reason, _ in node.told.events].count("Failed") > failures


async def test_a_clock_that_goes_back_leaves_no_volume_waiting(tmp_path: Path) -> None:
    node = VolumeNode(tmp_path / "volumes")
    pod = node.pod({"name": "key", "secret": {"secretName": "key"}})
    assert await node.volumes.prepare(pod) is not None
    set_clock(node.clock, -HOUR)
    node.api.secret("key", key="opens")
    wait = await node.volumes.prepare(pod)
    assert wait is None
    assert files_below(await node.shown(pod, "key")) == {"key": "opens"}


async def test_a_token_is_renewed_by_the_time_that_it_says(tmp_path: Path) -> None:
    node = VolumeNode(tmp_path / "volumes")
    pod = node.pod({"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
    held = files_below(await node.shown(pod, "token"))["token"]
    set_clock(node.clock, HOUR)
    again = node.started_again()
    assert await again.prepare(pod) is None
    assert files_below(await node.shown(pod, "token"))["token"] != held
    made = len(node.api.tokens)
    set_clock(node.clock, -HOUR)
    assert await again.prepare(pod) is None
    assert len(node.api.tokens) == made


@BOTH_WAYS
async def test_the_lease_is_as_long_as_it_is(jump: timedelta) -> None:
    clock = ManualClock()
    lease = NodeLease(clock, 30)
    lease.renewed(clock.monotonic())
    set_clock(clock, jump)
    await clock.advance(29)
    assert not lease.over
    await clock.advance(2)
    assert lease.over
