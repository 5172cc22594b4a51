from __future__ import annotations

from typing import Any

import pytest

KINDS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


def shown(node: Any) -> dict[str, tuple[str, str]]:
    """Return status and reason of each condition that is the node's."""
    found = (node.told.condition(kind) for kind in KINDS)
    return {each["type"]: (each["status"], each.get("reason", "")) for each in found}


def ending(node: Any, name: str, code: int = 0) -> dict[str, Any]:
    return {"name": name, "env": node.env(SIMULATED_RUN_SECONDS=5, SIMULATED_EXIT_CODE=code)}


async def test_while_init_containers_run(node: Any) -> None:
    async with node.running(node.pod({"name": "web"}, initContainers=[ending(node, "setup")])):
        assert shown(node) == {
            "PodReadyToStartContainers": ("True", ""),
            "Initialized": ("False", "ContainersNotInitialized"),
            "ContainersReady": ("False", "ContainersNotReady"),
            "Ready": ("False", "ContainersNotReady"),
        }
        assert node.told.condition("Ready")["message"] == "containers with unready status: [web]"


async def test_while_it_runs(node: Any) -> None:
    async with node.running(node.pod({"name": "web"}, meta={"generation": 3})):
        assert shown(node) == dict.fromkeys(KINDS, ("True", ""))
        assert [node.told.condition(kind)["observedGeneration"] for kind in KINDS] == [3] * 4
        assert node.told.status["observedGeneration"] == 3


@pytest.mark.parametrize(("code", "phase", "why"), [(0, "Succeeded", "PodCompleted"), (1, "Failed", "PodFailed")])
async def test_when_it_has_ended(node: Any, code: int, phase: str, why: str) -> None:
    async with node.running(node.pod(ending(node, "web", code), restartPolicy="Never")):
        await node.clock.advance(6)
        assert node.told.status["phase"] == phase
        assert shown(node) == {
            "PodReadyToStartContainers": ("False", ""),
            "Initialized": ("True", "PodCompleted" if phase == "Succeeded" else ""),
            "ContainersReady": ("False", why),
            "Ready": ("False", why),
        }


async def test_times_of_transitions_stay_as_long_as_the_status_does(node: Any) -> None:
    async with node.running(node.pod({"name": "web"}, ending(node, "job"), restartPolicy="Never")):
        first = {kind: node.told.condition(kind)["lastTransitionTime"] for kind in KINDS}
        await node.clock.advance(6)
        second = {kind: node.told.condition(kind)["lastTransitionTime"] for kind in KINDS}
        assert [kind for kind in KINDS if first[kind] != second[kind]] == ["ContainersReady", "Ready"]


async def test_a_deadline_is_told_as_an_event_too(node: Any) -> None:
    async with node.running(node.pod(activeDeadlineSeconds=30)):
        await node.clock.advance(33)
        message = "Pod was active on the node longer than the specified deadline"
        assert (node.told.status["reason"], node.told.status["message"]) == ("DeadlineExceeded", message)
        assert ("DeadlineExceeded", message) in node.told.events
        assert shown(node)["Ready"] == ("False", "PodFailed")


async def test_the_state_before_is_kept_over_restarts(node: Any) -> None:
    async with node.running(node.pod(ending(node, "web", 9))):
        for restarts in (1, 2):
            await node.clock.advance(6 if restarts == 1 else 15)
            web = node.told.container("web")
            assert (web["restartCount"], "running" in web["state"]) == (restarts, True)
            assert web["lastState"]["terminated"]["exitCode"] == 9
            assert web["lastState"]["terminated"]["containerID"] != web["containerID"]
