from __future__ import annotations

from typing import Any

import msgspec

from orch.objects.pods import Pod
from orch_agent.eviction.verdict import Eviction
from orch_agent.pods.allocations import NodeAllocations
from orch_agent.pods.worker import PodWorker

MI = 1 << 20


def amounts(cpu: str = "", memory: str = "") -> dict[str, str]:
    return {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}


def web(cpu: str = "100m", memory: str = "64Mi", limit: str = "128Mi", **fields: Any) -> dict[str, Any]:
    resources = {"requests": amounts(cpu, memory), "limits": amounts("1", limit)}
    return {"name": "web", "resources": resources, **fields}


def newer(node: Any, pod: Pod, container: dict[str, Any], generation: int = 2, **spec: Any) -> Pod:
    """Return the pod as a patch of its resize subresource leaves it."""
    made = node.pod(container, uid=pod.metadata.uid, meta={"generation": generation}, **spec)
    return msgspec.structs.replace(made, status=pod.status)


def conditions(node: Any) -> dict[str, tuple[str, str]]:
    found = node.told.status["conditions"]
    return {
        each["type"]: (each.get("reason", ""), each.get("message", "")) for each in found if "Resize" in each["type"]
    }


def given(node: Any, name: str = "web") -> Any:
    return node.told.container(name)["resources"]


async def running(node: Any, worker: PodWorker) -> str:
    await node.settle(lambda: node.told.phases[-1:] == ["Running"])
    info = worker.container("web")
    assert info is not None
    return info.id


def room(node: Any, cpu: str = "2", memory: str = "1Gi", pods: str = "10") -> None:
    node.host.allocations = NodeAllocations({"cpu": cpu, "memory": memory, "pods": pods})


async def test_what_containers_have_is_told_from_the_start(node: Any) -> None:
    pod = node.pod(web())
    async with node.running(pod) as worker:
        await running(node, worker)
        assert given(node) == {"requests": amounts("100m", "64Mi"), "limits": amounts("1", "128Mi")}
        assert node.told.container("web")["allocatedResources"] == amounts("100m", "64Mi")


async def test_a_running_container_is_given_more_without_a_restart(node: Any) -> None:
    pod = node.pod(web())
    async with node.running(pod) as worker:
        container = await running(node, worker)
        worker.update(newer(node, pod, web("500m", "128Mi", "256Mi")), None)
        await node.settle(lambda: node.runtime.limits(container).memory == 256 * MI)
        await node.settle(lambda: given(node)["limits"]["memory"] == "256Mi" and not conditions(node))
        assert node.runtime.limits(container).cpu_shares == 512
        assert node.told.container("web")["restartCount"] == 0
        assert node.told.container("web")["allocatedResources"] == amounts("500m", "128Mi")
        reasons = [reason for reason, _ in node.told.events if "Resize" in reason]
        assert reasons == ["ResizeStarted", "ResizeCompleted"]
        assert '"requests":{"cpu":"500m"' in dict(node.told.events)["ResizeStarted"]


async def test_a_policy_may_want_a_restart(node: Any) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    pod = node.pod(web(resizePolicy=policy))
    async with node.running(pod) as worker:
        first = await running(node, worker)
        worker.update(newer(node, pod, web("200m", resizePolicy=policy)), None)
        await node.settle(lambda: node.runtime.limits(first).cpu_shares == 204)
        worker.update(newer(node, pod, web("200m", limit="256Mi", resizePolicy=policy), 3), None)
        await node.settle(lambda: node.told.container("web")["restartCount"] == 1)
        await node.settle(lambda: given(node)["limits"]["memory"] == "256Mi" and not conditions(node))
        assert ("Killing", "Container web resize requires restart") in node.told.events


async def test_more_than_the_node_has_is_infeasible(node: Any) -> None:
    room(node)
    pod = node.pod(web())
    async with node.running(pod) as worker:
        container = await running(node, worker)
        before = node.runtime.limits(container)
        worker.update(newer(node, pod, web("3")), None)
        await node.settle(lambda: conditions(node))
        message = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"
        assert conditions(node) == {"PodResizePending": ("Infeasible", message)}
        assert node.told.condition("PodResizePending")["observedGeneration"] == 2
        assert node.runtime.limits(container) == before
        assert node.told.container("web")["allocatedResources"] == amounts("100m", "64Mi")
        worker.update(newer(node, pod, web(), 3), None)
        await node.settle(lambda: not conditions(node))


async def test_what_others_have_is_waited_for(node: Any) -> None:
    room(node)
    other = node.pod(web("1500m"), uid="other")
    assert node.host.allocations.admit(other) is None
    pod = node.pod(web())
    async with node.running(pod) as worker:
        container = await running(node, worker)
        worker.update(newer(node, pod, web("1")), None)
        await node.settle(lambda: conditions(node))
        message = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
        assert conditions(node) == {"PodResizePending": ("Deferred", message)}
        node.host.allocations.release("other")
        await node.settle(lambda: node.runtime.limits(container).cpu_shares == 1024)
        await node.settle(lambda: not conditions(node))


async def test_less_memory_than_is_used_waits_and_is_told(node: Any) -> None:
    pod = node.pod(web(), meta={"annotations": {}})
    async with node.running(pod) as worker:
        container = await running(node, worker)
        worker.update(newer(node, pod, web(memory="1Mi", limit="8Mi")), None)  # it uses 16 Mi
        await node.settle(lambda: conditions(node).get("PodResizeInProgress", ("", ""))[0] == "Error")
        message = f"attempting to set memory limit of container web ({8 * MI}) below current usage ({16 * MI})"
        assert conditions(node) == {"PodResizeInProgress": ("Error", message)}
        assert given(node)["limits"]["memory"] == "128Mi"
        worker.update(newer(node, pod, web(memory="1Mi", limit="32Mi"), 3), None)
        await node.settle(lambda: node.runtime.limits(container).memory == 32 * MI)
        await node.settle(lambda: not conditions(node))


async def test_a_new_process_begins_from_what_was_told(node: Any) -> None:
    room(node)
    pod = node.pod(web())
    async with node.running(pod) as worker:
        container = await running(node, worker)
    status = msgspec.json.decode(msgspec.json.encode(node.told.status))
    wanted = node.pod(web("500m", limit="256Mi"), status=status, meta={"generation": 2})
    found = await node.runtime.containers("u1")
    async with node.running(wanted, found=found):
        await node.settle(lambda: node.runtime.limits(container).memory == 256 * MI)
        await node.settle(lambda: node.told.container("web")["allocatedResources"]["cpu"] == "500m")
        assert node.told.container("web")["restartCount"] == 0


async def test_what_is_asked_for_before_the_start_is_had_from_the_start(node: Any) -> None:
    pod = node.pod(web())
    worker = PodWorker(node.host, pod)
    worker.update(newer(node, pod, web("700m")), None)
    assert worker.pod.spec.containers[0].resources.requests["cpu"] == "100m"
    async with node.running(newer(node, pod, web("700m"))) as other:
        container = await running(node, other)
        assert node.runtime.limits(container).cpu_shares == 716
        assert not conditions(node)


# -- room, and eviction ----------------------------------------------------------------------------------------------


async def test_a_pod_that_does_not_fit_is_refused(node: Any) -> None:
    room(node, cpu="1")
    assert node.host.allocations.admit(node.pod(web("900m"), uid="other")) is None
    async with node.running(node.pod(web("200m"))):
        await node.settle(lambda: node.told.phases == ["Failed"])
        assert node.told.status["reason"] == "OutOfcpu"
        words = "Node didn't have enough resource: cpu, requested: 200, used: 900, capacity: 1000"
        assert node.told.status["message"] == f"Pod was rejected: {words}"
        assert ("OutOfcpu", words) in node.told.events
        assert await node.runtime.containers() == []


def test_pods_are_counted_and_counted_out(node: Any) -> None:
    allocations = NodeAllocations({"pods": "2"})
    assert [allocations.admit(node.pod(uid=uid)) for uid in "ab"] == [None, None]
    refusal = allocations.admit(node.pod(uid="c"))
    assert refusal is not None
    assert (refusal.reason, refusal.message) == (
        "OutOfpods",
        "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2",
    )
    allocations.release("a")
    assert allocations.admit(node.pod(uid="c")) is None


async def test_the_room_of_a_pod_that_has_ended_is_free(node: Any) -> None:
    room(node, cpu="1")
    pod = node.pod(web("900m", env=node.env(SIMULATED_RUN_SECONDS=5)), restartPolicy="Never")
    async with node.running(pod) as worker:
        await running(node, worker)
        assert node.host.allocations.admit(node.pod(web("900m"), uid="next")) is not None
        await node.clock.advance(6)
        await node.settle(lambda: worker.settled)
        assert node.host.allocations.admit(node.pod(web("900m"), uid="next")) is None


async def test_an_evicted_pod_fails_with_its_reason_and_is_told_to_be_disrupted(node: Any) -> None:
    pod = node.pod(web(env=node.env(SIMULATED_STOP_SECONDS=60)))
    async with node.running(pod) as worker:
        await running(node, worker)
        assert worker.evict(Eviction(message="The node was low on resource: memory. "))
        assert not worker.evict(Eviction(message="again"))
        assert not worker.settled
        for _ in range(5):
            await node.clock.advance(1)
        await node.settle(lambda: worker.settled)
        status = node.told.status
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert status["message"] == "The node was low on resource: memory. "
        condition = node.told.condition("DisruptionTarget")
        assert (condition["status"], condition["reason"]) == ("True", "TerminationByKubelet")
        assert condition["message"] == status["message"]
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 137
        assert ("Evicted", "The node was low on resource: memory. ") in node.told.events


async def test_a_soft_eviction_leaves_a_pod_its_time(node: Any) -> None:
    pod = node.pod(web(env=node.env(SIMULATED_STOP_SECONDS=5)))
    async with node.running(pod) as worker:
        await running(node, worker)
        worker.evict(Eviction(message="enough", grace=20))
        for _ in range(6):
            await node.clock.advance(1)
        await node.settle(lambda: worker.settled)
        assert node.told.container("web")["state"]["terminated"]["exitCode"] == 0


async def test_a_pod_whose_object_is_gone_leaves_its_place_before_it_has_ended(node: Any) -> None:
    node.host.allocations = NodeAllocations({"pods": "1"})
    slow = {"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=20)}
    async with node.running(node.pod(slow)) as worker:
        assert node.host.allocations.admit(node.pod(uid="next")) is not None
        worker.vanish()
        assert node.host.allocations.admit(node.pod(uid="next")) is None
        await node.clock.advance(1)
        assert await node.runtime.containers("u1") != []
