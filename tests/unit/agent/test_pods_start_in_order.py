from __future__ import annotations

from typing import Any


async def test_a_plain_pod_runs_and_is_ready(node: Any) -> None:
    async with node.running(node.pod({"name": "web"})):
        told = node.told
        assert told.status["phase"] == "Running"
        assert told.status["podIP"] == "10.1.0.2"
        assert told.status["hostIP"] == "192.0.2.1"
        assert told.condition("Ready")["status"] == "True"
        web = told.container("web")
        assert web["ready"]
        assert web["restartCount"] == 0
        assert "running" in web["state"]
        assert web["containerID"].startswith("simulated://")
        assert [reason for reason, _ in told.events] == ["Pulling", "Pulled", "Created", "Started"]


async def test_scheduled_condition_of_others_is_kept(node: Any) -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    async with node.running(node.pod(status={"conditions": [scheduled], "qosClass": "BestEffort"})):
        assert node.told.condition("PodScheduled")["status"] == "True"
        assert node.told.status["qosClass"] == "BestEffort"


async def test_init_containers_end_one_after_the_other_before_the_main_one_starts(node: Any) -> None:
    first = {"name": "first", "env": node.env(SIMULATED_RUN_SECONDS=5)}
    second = {"name": "second", "env": node.env(SIMULATED_RUN_SECONDS=5)}
    async with node.running(node.pod({"name": "web"}, initContainers=[first, second])):
        told = node.told
        assert "running" in told.container("first")["state"]
        assert told.container("second")["state"] == {"waiting": {"reason": "PodInitializing"}}
        assert told.container("web")["state"] == {"waiting": {"reason": "PodInitializing"}}
        assert told.condition("Initialized")["message"] == "containers with incomplete status: [first second]"
        await node.clock.advance(6)
        assert told.container("first")["state"]["terminated"]["reason"] == "Completed"
        assert "running" in told.container("second")["state"]
        assert told.status["phase"] == "Pending"
        await node.clock.advance(6)
        assert told.status["phase"] == "Running"
        assert told.condition("Initialized")["status"] == "True"


async def test_a_sidecar_keeps_running_beside_the_main_container(node: Any) -> None:
    sidecar = {"name": "proxy", "restartPolicy": "Always"}
    async with node.running(node.pod({"name": "web"}, initContainers=[sidecar])):
        assert "running" in node.told.container("proxy")["state"]
        assert node.told.status["phase"] == "Running"
        assert node.told.condition("Ready")["status"] == "True"


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(node: Any) -> None:
    broken = {"name": "setup", "env": node.env(SIMULATED_RUN_SECONDS=1, SIMULATED_EXIT_CODE=4)}
    async with node.running(node.pod({"name": "web"}, initContainers=[broken], restartPolicy="Never")):
        await node.clock.advance(2)
        assert node.told.status["phase"] == "Failed"
        assert node.told.container("setup")["state"]["terminated"]["exitCode"] == 4
        assert node.told.container("web")["state"] == {"waiting": {"reason": "PodInitializing"}}
