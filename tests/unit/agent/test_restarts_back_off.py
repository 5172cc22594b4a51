from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orch_agent.pods.backoff import BackOff
from orch_agent.pods.slot import go_duration

START = datetime(2026, 1, 1, tzinfo=UTC)


def crashing(node: Any, seconds: float = 1, code: int = 1, **spec: Any) -> Any:
    variables = node.env(SIMULATED_RUN_SECONDS=seconds, SIMULATED_EXIT_CODE=code)
    return node.pod({"name": "web", "env": variables}, **spec)


async def test_the_first_restart_is_immediate_and_the_second_waits_ten_seconds(node: Any) -> None:
    async with node.running(crashing(node)):
        await node.clock.advance(1)
        web = node.told.container("web")
        assert web["restartCount"] == 1
        assert web["lastState"]["terminated"]["exitCode"] == 1
        assert web["lastState"]["terminated"]["reason"] == "Error"
        await node.clock.advance(1)
        web = node.told.container("web")
        assert web["state"]["waiting"] == {
            "reason": "CrashLoopBackOff",
            "message": "back-off 10s restarting failed container=web pod=web-1_default(u1)",
        }
        assert node.told.status["phase"] == "Running"
        assert node.told.condition("Ready")["status"] == "False"
        await node.clock.advance(9)
        assert node.told.container("web")["restartCount"] == 1
        await node.clock.advance(1)
        assert node.told.container("web")["restartCount"] == 2
        message = "Back-off restarting failed container web in pod web-1_default(u1)"
        assert ("BackOff", message) in node.told.events


async def test_delays_double_up_to_five_minutes(node: Any) -> None:
    async with node.running(crashing(node, seconds=0)):
        moments: list[float] = []
        seen = -1
        for _ in range(1200):
            count = node.told.container("web")["restartCount"]
            if count != seen:
                moments.append(node.clock.monotonic())
                seen = count
            await node.clock.advance(1)
    delays = [round(b - a) for a, b in itertools.pairwise(moments)]
    assert delays[:6] == [10, 20, 40, 80, 160, 300]


async def test_a_container_that_succeeded_is_restarted_only_by_always(node: Any) -> None:
    async with node.running(crashing(node, code=0, restartPolicy="OnFailure")):
        await node.clock.advance(2)
        assert node.told.status["phase"] == "Succeeded"
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 0
        assert node.told.condition("Ready") | {"lastTransitionTime": ""} == {
            "type": "Ready",
            "status": "False",
            "reason": "PodCompleted",
            "lastTransitionTime": "",
        }
        assert not node.told.terminated


async def test_a_failure_is_final_when_the_policy_is_never(node: Any) -> None:
    async with node.running(crashing(node, code=7, restartPolicy="Never")):
        await node.clock.advance(2)
        assert node.told.status["phase"] == "Failed"
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 7
        assert node.told.condition("Ready")["reason"] == "PodFailed"
        assert await node.host.sandboxes.owners() == ()


async def test_running_out_of_memory_has_its_reason(node: Any) -> None:
    variables = node.env(SIMULATED_RUN_SECONDS=1, SIMULATED_OOM=1)
    async with node.running(node.pod({"name": "web", "env": variables}, restartPolicy="Never")):
        await node.clock.advance(2)
        ended = node.told.container("web")["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_a_container_that_cannot_be_started_backs_off_like_one_that_crashed(node: Any) -> None:
    variables = node.env(SIMULATED_START_ERROR="exec: no such file")
    async with node.running(node.pod({"name": "web", "env": variables})):
        await node.clock.advance(1)
        web = node.told.container("web")
        assert web["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert web["lastState"]["terminated"]["reason"] == "StartError"
        assert web["lastState"]["terminated"]["exitCode"] == 128
        assert ("Failed", "Error: exec: no such file") in node.told.events


async def test_a_sidecar_restarts_whatever_the_policy(node: Any) -> None:
    sidecar = {"name": "proxy", "restartPolicy": "Always", "env": node.env(SIMULATED_RUN_SECONDS=5)}
    async with node.running(node.pod({"name": "web"}, initContainers=[sidecar], restartPolicy="Never")):
        await node.clock.advance(6)
        assert node.told.container("proxy")["restartCount"] == 1
        assert node.told.status["phase"] == "Running"


def test_who_stayed_well_for_twice_the_maximum_begins_anew() -> None:
    back_off = BackOff(10, 300)
    now = START
    for _ in range(8):
        back_off.next(now, now)
    assert back_off.delay == 300
    later = now + timedelta(seconds=601)
    back_off.next(later, later)
    assert back_off.delay == 10


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3700, "1h1m40s")])
def test_durations_read_as_in_go(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
