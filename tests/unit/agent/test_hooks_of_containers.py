from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orch_agent.runtimes.protocol import State


def hooked(name: str = "web", **hooks: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "lifecycle": hooks}


def command(*words: str) -> dict[str, Any]:
    return {"exec": {"command": list(words)}}


SLEEP = {"sleep": {"seconds": 5}}


async def states(node: Any) -> dict[str, State]:
    return {info.identity.container: info.state for info in await node.runtime.containers()}


@pytest.fixture
def ran(node: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Sequence[str]]]:
    """Return the commands that ran in containers, with their moments."""
    seen: list[tuple[float, Sequence[str]]] = []
    execute = node.runtime.exec

    async def noted(container: str, spec: Any) -> Any:
        seen.append((node.clock.monotonic(), spec.command))
        return await execute(container, spec)

    monkeypatch.setattr(node.runtime, "exec", noted)
    return seen


async def test_a_container_waits_until_its_post_start_hook_is_done(node: Any) -> None:
    async with node.running(node.pod(hooked(postStart=SLEEP), {"name": "next"})):
        assert await states(node) == {"web": State.RUNNING}
        assert "waiting" in node.told.container("web")["state"]
        await node.clock.advance(6)
        assert await states(node) == {"web": State.RUNNING, "next": State.RUNNING}
        assert node.told.status["phase"] == "Running"


OF_WEB = 'for Container "web" in Pod "web-1_default(u1)" failed - error:'
EXITED = f"Exec lifecycle hook ([exit 3]) {OF_WEB} command 'exit 3' exited with 3: , message: \"\""
REFUSED = 'Get "http://10.1.0.2:40000/go": dial tcp 10.1.0.2:40000: connect: connection refused'


@pytest.mark.parametrize(
    ("hook", "complaint"),
    [
        (command("exit", "3"), EXITED),
        ({"httpGet": {"port": 40000, "path": "/go"}}, f'HTTP lifecycle hook (/go) {OF_WEB} {REFUSED}, message: ""'),
        ({"tcpSocket": {"port": 80}}, "Cannot run handler: invalid handler"),
    ],
)
async def test_a_container_whose_post_start_hook_fails_is_restarted(node: Any, hook: Any, complaint: str) -> None:
    async with node.running(node.pod(hooked(postStart=hook))):
        assert ("FailedPostStartHook", "PostStartHook failed") in node.told.events
        assert ("Killing", "FailedPostStartHook") in node.told.events
        await node.clock.advance(1)
        web = node.told.container("web")
        assert (web["restartCount"], web["state"]["waiting"]["reason"]) == (1, "CrashLoopBackOff")
        assert not web["ready"]
        waited = [status["containerStatuses"][0]["state"].get("waiting", {}) for _, status, _ in node.told.reports]
        assert {"reason": "PostStartHookError", "message": complaint} in waited
        assert all(complaint not in message for _, message in node.told.events)


async def test_why_a_hook_failed_is_told_when_the_container_may_not_run_again(node: Any) -> None:
    async with node.running(node.pod(hooked(postStart=command("false")), restartPolicy="Never")):
        await node.clock.advance(1)
        assert "terminated" in node.told.container("web")["state"]
        assert node.told.status["phase"] in {"Succeeded", "Failed"}


async def test_a_deletion_interrupts_a_post_start_hook(node: Any) -> None:
    pod = node.pod(hooked(postStart={"sleep": {"seconds": 1000}}))
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod), None)
        await node.settle(lambda: node.told.terminated)
        assert await states(node) == {}


async def test_a_container_gets_its_signal_after_its_pre_stop_hook(node: Any, ran: Any) -> None:
    pod = node.pod(hooked(preStop=SLEEP), hooked("other", preStop=command("echo", "bye")))
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod), None)
        await node.clock.advance(4)
        assert await states(node) == {"web": State.RUNNING, "other": State.EXITED}
        await node.clock.advance(2)
        assert node.told.terminated
        assert [words for _, words in ran] == [("echo", "bye")]


async def test_a_pre_stop_hook_that_fails_is_told_and_changes_nothing(node: Any) -> None:
    pod = node.pod(hooked(preStop=command("false")))
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod), None)
        await node.clock.advance(1)
        assert node.told.terminated
        assert ("FailedPreStopHook", "PreStopHook failed") in node.told.events


async def test_a_hook_has_no_more_than_the_grace_period(node: Any) -> None:
    pod = node.pod(hooked(preStop={"sleep": {"seconds": 600}}) | {"env": node.env(SIMULATED_STOP_SECONDS=600)})
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod, grace=10), None)
        await node.clock.advance(11)
        assert await states(node) == {"web": State.RUNNING}
        await node.clock.advance(1.5)
        assert node.told.terminated
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 137


async def test_hooks_of_sidecars_run_with_the_others_and_their_turns_come_last_first(node: Any, ran: Any) -> None:
    slow = {"restartPolicy": "Always", "env": node.env(SIMULATED_STOP_SECONDS=3)}
    sidecars = [hooked(name, preStop=command("echo", name)) | slow for name in ("first", "second")]
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=5)}, initContainers=sidecars)
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod, grace=60), None)
        await node.clock.advance(1)
        assert [(round(when), words[1]) for when, words in ran] == [(0, "first"), (0, "second")]
        await node.clock.advance(5)
        assert await states(node) == {"web": State.EXITED, "first": State.RUNNING, "second": State.RUNNING}
        await node.clock.advance(2.5)
        assert await states(node) == {"web": State.EXITED, "first": State.RUNNING, "second": State.EXITED}
        await node.clock.advance(4)
        assert node.told.terminated


async def test_what_a_probe_condemned_has_its_hook_run_too(node: Any, ran: Any) -> None:
    probe = {"exec": {"command": ["false"]}, "failureThreshold": 1}
    async with node.running(node.pod(hooked(preStop=command("echo", "bye")) | {"livenessProbe": probe})):
        await node.clock.advance(1)
        assert ("echo", "bye") in [words for _, words in ran]
        assert node.told.container("web")["restartCount"] == 1


async def test_sidecars_do_not_wait_for_who_only_looks_on(node: Any) -> None:
    sidecar = {"name": "proxy", "restartPolicy": "Always"}
    looker = {"name": "look", "image": "busybox", "env": node.env(SIMULATED_STOP_SECONDS=600)}
    pod = node.pod({"name": "web"}, initContainers=[sidecar], ephemeralContainers=[looker])
    async with node.running(pod) as worker:
        await node.clock.advance(1)
        worker.update(node.deleted(pod, grace=60), None)
        await node.clock.advance(2)
        assert await states(node) == {"web": State.EXITED, "proxy": State.EXITED, "look": State.RUNNING}
