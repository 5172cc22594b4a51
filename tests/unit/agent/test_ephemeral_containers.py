"""Containers that are added to a running pod: started at once, never again, and of no weight for the pod itself."""

from __future__ import annotations

from typing import Any

import msgspec

from orch.objects.pods import EphemeralContainer, Pod
from orch_agent.runtimes.protocol import State


def with_ephemeral(pod: Pod, *containers: dict[str, Any]) -> Pod:
    """Return the pod as it is once ephemeral containers were added."""
    added = tuple(msgspec.convert({"image": "busybox:1", **each}, EphemeralContainer) for each in containers)
    spec = msgspec.structs.replace(pod.spec, ephemeral_containers=added)
    return msgspec.structs.replace(pod, spec=spec)


def ephemeral(node: Any, name: str = "look") -> dict[str, Any]:
    found = node.told.status.get("ephemeralContainerStatuses", ())
    return next((each for each in found if each["name"] == name), {"state": {}})


async def test_one_that_is_added_is_started_and_told_of(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        await node.settle(lambda: node.told.status["phase"] == "Running")
        assert "ephemeralContainerStatuses" not in node.told.status
        worker.update(with_ephemeral(pod, {"name": "look"}), None)
        await node.settle(lambda: "running" in ephemeral(node)["state"])
        status = ephemeral(node)
        assert (status["restartCount"], status["ready"], status["image"]) == (0, False, "busybox:1")
        assert node.told.condition("Ready")["status"] == "True"
        assert ("Started", "Container started") in node.told.events


async def test_one_that_ended_is_not_started_again_and_ends_nothing(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        await node.settle(lambda: node.told.status["phase"] == "Running")
        env = node.env(SIMULATED_RUN_SECONDS=5, SIMULATED_EXIT_CODE=3)
        worker.update(with_ephemeral(pod, {"name": "look", "env": env}), None)
        await node.settle(lambda: "running" in ephemeral(node)["state"])
        await node.clock.advance(6)
        await node.settle(lambda: "terminated" in ephemeral(node)["state"])
        await node.clock.advance(600)
        assert ephemeral(node)["state"]["terminated"]["exitCode"] == 3
        assert ephemeral(node)["restartCount"] == 0
        assert node.told.status["phase"] == "Running"
        assert node.told.condition("ContainersReady")["status"] == "True"


async def test_one_helps_to_look_at_a_pod_that_does_not_come_up(node: Any) -> None:
    init = {"name": "stuck", "env": node.env(SIMULATED_RUN_SECONDS=1000)}
    pod = node.pod(initContainers=[init])
    async with node.running(pod) as worker:
        await node.settle(lambda: "running" in node.told.container("stuck")["state"])
        worker.update(with_ephemeral(pod, {"name": "look"}), None)
        await node.settle(lambda: "running" in ephemeral(node)["state"])
        assert node.told.status["phase"] == "Pending"
        assert node.told.condition("Initialized")["status"] == "False"


async def test_one_whose_image_is_missing_waits_and_holds_nobody_up(node: Any) -> None:
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_RUN_SECONDS=20)})
    async with node.running(pod) as worker:
        await node.settle(lambda: node.told.status["phase"] == "Running")
        worker.update(with_ephemeral(pod, {"name": "look", "image": "no:missing"}), None)
        await node.settle(lambda: "waiting" in ephemeral(node)["state"])
        await node.clock.advance(5)
        assert ephemeral(node)["state"]["waiting"]["reason"] == "ImagePullBackOff"
        await node.clock.advance(20)
        await node.settle(lambda: node.told.container("web")["restartCount"] == 1)


async def test_one_sees_the_processes_of_its_target(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        await node.settle(lambda: node.told.status["phase"] == "Running")
        worker.update(
            with_ephemeral(
                pod, {"name": "look", "targetContainerName": "web"}, {"name": "lost", "targetContainerName": "none"}
            ),
            None,
        )
        await node.settle(
            lambda: "running" in ephemeral(node)["state"] and "running" in ephemeral(node, "lost")["state"]
        )
        web, look = worker.container("web"), worker.container("look")
        specs = {each.info.id: each.spec for each in node.runtime._containers.values()}
        assert specs[look.id].processes_of == web.id


async def test_deletion_ends_them_too(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        await node.settle(lambda: node.told.status["phase"] == "Running")
        pod = with_ephemeral(pod, {"name": "look"})
        worker.update(pod, None)
        await node.settle(lambda: "running" in ephemeral(node)["state"])
        worker.update(node.deleted(pod), None)
        await node.settle(lambda: node.told.terminated)
        assert await node.runtime.containers() == []
        assert ephemeral(node)["state"]["terminated"]["exitCode"] == 0


async def test_a_new_process_neither_starts_them_again_nor_forgets_them(node: Any) -> None:
    pod = with_ephemeral(node.pod(), {"name": "look", "env": node.env(SIMULATED_RUN_SECONDS=5)})
    async with node.running(pod):
        await node.settle(lambda: "running" in ephemeral(node)["state"])
        await node.clock.advance(6)
        await node.settle(lambda: "terminated" in ephemeral(node)["state"])
    found = await node.runtime.containers("u1")
    async with node.running(pod, found=found) as worker:
        await node.clock.advance(60)
        info = worker.container("look")
        assert (info.state, info.identity.attempt) == (State.EXITED, 0)
        assert "terminated" in ephemeral(node)["state"]
