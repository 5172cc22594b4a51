"""What a worker makes of the containers and the status that an earlier process left."""

from __future__ import annotations

from typing import Any

import msgspec

from orch_agent.pods.specification import Specifications
from orch_agent.pods.worker import PodWorker


async def left_by_earlier_process(node: Any, pod: Any, seconds: float = 1) -> tuple[Any, Any]:
    """Run the pod for a while; return the pod as the api has it then, and its containers."""
    async with node.running(pod):
        await node.clock.advance(seconds)
        status = node.told.status
    known = msgspec.structs.replace(pod, status=msgspec.convert(status, type(pod.status)))
    return known, await node.runtime.containers(pod.metadata.uid)


async def test_a_running_container_is_adopted(node: Any) -> None:
    known, found = await left_by_earlier_process(node, node.pod())
    before = node.told.status
    events = len(node.told.events)
    async with node.running(known, found=found):
        await node.clock.advance(5)
        assert node.told.container("web") == before["containerStatuses"][0]
        assert node.told.status["podIP"] == before["podIP"]
        assert len(node.told.events) == events


async def test_a_container_that_ended_meanwhile_is_restarted(node: Any) -> None:
    known, found = await left_by_earlier_process(node, node.pod())
    await node.runtime.kill(found[0].id)
    async with node.running(known, found=await node.runtime.containers()):
        web = node.told.container("web")
        assert web["restartCount"] == 1
        assert web["lastState"]["terminated"]["exitCode"] == 137


async def test_a_container_that_vanished_counts_as_ended(node: Any) -> None:
    known, found = await left_by_earlier_process(node, node.pod())
    await node.runtime.remove(found[0].id)
    async with node.running(known, found=[]):
        web = node.told.container("web")
        assert web["restartCount"] == 1
        assert web["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
        assert "running" in web["state"]


async def test_a_container_that_vanished_is_not_run_again_when_the_policy_is_never(node: Any) -> None:
    known, found = await left_by_earlier_process(node, node.pod(restartPolicy="Never"))
    await node.runtime.remove(found[0].id)
    async with node.running(known, found=[]):
        assert node.told.status["phase"] == "Failed"
        assert node.told.container("web")["restartCount"] == 0


async def test_an_init_container_that_succeeded_is_not_run_again(node: Any) -> None:
    known, _ = await left_by_earlier_process(node, node.pod({"name": "web"}, initContainers=[{"name": "setup"}]))
    for info in await node.runtime.containers():
        await node.runtime.remove(info.id)
    events = len(node.told.events)
    async with node.running(known, found=[]):
        assert [reason for reason, _ in node.told.events[events:]].count("Created") == 1
        assert node.told.container("setup")["state"]["terminated"]["exitCode"] == 0
        assert node.told.status["phase"] == "Running"


async def test_a_container_that_was_created_and_never_started_is_made_anew(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod):
        pass
    for info in await node.runtime.containers():
        await node.runtime.remove(info.id)
    worker = PodWorker(node.host, pod)
    spec = await Specifications(node.host).of(pod, worker._slots[0], (await node.host.sandboxes.ensure("u1"))[0])
    await node.runtime.create(spec)
    async with node.running(pod, found=await node.runtime.containers()):
        assert node.told.status["phase"] == "Running"
        assert node.told.container("web")["restartCount"] == 0


async def test_a_deletion_that_was_begun_is_finished(node: Any) -> None:
    known, found = await left_by_earlier_process(node, node.pod())
    async with node.running(node.deleted(known), found=found):
        await node.clock.advance(1)
        assert node.told.terminated
        assert await node.runtime.containers() == []


async def test_a_pod_that_had_finished_stays_finished(node: Any) -> None:
    web = {"name": "web", "env": node.env(SIMULATED_RUN_SECONDS=1)}
    known, found = await left_by_earlier_process(node, node.pod(web, restartPolicy="OnFailure"), seconds=3)
    assert known.status.phase == "Succeeded"
    async with node.running(known, found=found):
        await node.clock.advance(100)
        assert node.told.status["phase"] == "Succeeded"
        assert len(await node.runtime.containers()) == 1


async def test_a_changed_image_replaces_the_container(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod) as worker:
        changed = msgspec.structs.replace(pod.spec.containers[0], image="nginx:2")
        spec = msgspec.structs.replace(pod.spec, containers=(changed,))
        worker.update(msgspec.structs.replace(pod, spec=spec), None)
        await node.clock.advance(2)
        web = node.told.container("web")
        assert web["image"] == "nginx:2"
        assert web["restartCount"] == 1
        assert ("Killing", "Container web definition changed, will be restarted") in node.told.events
