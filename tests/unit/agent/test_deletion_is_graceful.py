from __future__ import annotations

from typing import Any

from orch_agent.runtimes.protocol import State


async def test_containers_are_asked_to_end_and_the_pod_leaves_nothing(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod), None)
        await node.clock.advance(1)
        assert node.told.terminated
        assert node.told.status["phase"] == "Succeeded"
        assert ("Killing", "Stopping container web") in node.told.events
        assert await node.runtime.containers() == []
        assert await node.host.sandboxes.owners() == ()


async def test_who_does_not_end_in_time_is_killed(node: Any) -> None:
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=60)})
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod, grace=10), None)
        await node.clock.advance(9)
        [info] = await node.runtime.containers()
        assert info.state is State.RUNNING
        await node.clock.advance(2)
        assert node.told.terminated
        assert node.told.status["phase"] == "Failed"
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 137


async def test_a_second_deletion_shortens_the_grace_period(node: Any) -> None:
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=600)})
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod, grace=300), None)
        await node.clock.advance(20)
        assert not node.told.terminated
        worker.update(node.deleted(pod, grace=1), None)
        await node.clock.advance(2)
        assert node.told.terminated


async def test_a_deletion_interrupts_a_pull(node: Any) -> None:
    node.runtime._pull_seconds = 1000
    pod = node.pod()
    async with node.running(pod) as worker:
        assert node.told.container("web")["state"]["waiting"]["reason"] == "ContainerCreating"
        worker.update(node.deleted(pod), None)
        await node.settle(lambda: node.told.terminated)
        assert node.clock.monotonic() < 1000


async def test_a_finished_pod_keeps_its_containers_for_their_logs_until_it_is_deleted(node: Any) -> None:
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_RUN_SECONDS=1)}, restartPolicy="Never")
    async with node.running(pod) as worker:
        await node.clock.advance(2)
        assert node.told.status["phase"] == "Succeeded"
        assert len(await node.runtime.containers()) == 1
        worker.vanish()
        await node.clock.advance(1)
        assert await node.runtime.containers() == []


async def test_sidecars_end_after_the_main_containers(node: Any) -> None:
    sidecar = {"name": "proxy", "restartPolicy": "Always"}
    pod = node.pod({"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=5)}, initContainers=[sidecar])
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod), None)
        await node.clock.advance(4)
        states = {info.identity.container: info.state for info in await node.runtime.containers()}
        assert states == {"proxy": State.RUNNING, "web": State.RUNNING}
        await node.clock.advance(3)
        assert node.told.terminated


async def test_a_sidecar_does_not_keep_a_completed_pod_alive(node: Any) -> None:
    sidecar = {"name": "proxy", "restartPolicy": "Always"}
    web = {"name": "web", "env": node.env(SIMULATED_RUN_SECONDS=3)}
    async with node.running(node.pod(web, initContainers=[sidecar], restartPolicy="Never")):
        await node.clock.advance(5)
        assert node.told.status["phase"] == "Succeeded"
        assert all(info.state is State.EXITED for info in await node.runtime.containers())


async def test_a_deadline_fails_the_pod(node: Any) -> None:
    async with node.running(node.pod(activeDeadlineSeconds=30)):
        await node.clock.advance(29)
        assert node.told.status["phase"] == "Running"
        await node.clock.advance(3)
        assert node.told.status["phase"] == "Failed"
        assert node.told.status["reason"] == "DeadlineExceeded"
        assert not node.told.terminated


async def test_termination_is_told_again_until_the_object_is_gone(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        worker.update(node.deleted(pod), None)
        await node.clock.advance(1)
        count = len(node.told.reports)
        await node.clock.advance(61)
        assert len(node.told.reports) == count + 1
        assert node.told.terminated
