"""Which pods a critical one that does not fit ends, and what becomes of all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from agent_cluster import CONFIG, Cluster, agent, cancelled, pod, until

from orch.clock import SystemClock
from orch_agent.agent import simulated_places
from orch_agent.pods.allocations import NodeAllocations
from orch_agent.pods.preemption import Preemption, victims
from orch_agent.pods.worker import PodWorker

CRITICAL = 2_000_000_000


def asking(node: Any, uid: str, cpu: str = "", memory: str = "", *, limits: bool = False, **spec: Any) -> Any:
    amounts = {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}
    resources = {"requests": amounts, **({"limits": amounts} if limits else {})}
    return node.pod({"name": "web", "resources": resources}, uid=uid, **spec)


def chosen(node: Any, candidates: list[Any], **short: int) -> list[str]:
    found, missing = victims(node.pod(uid="new", priority=CRITICAL), candidates, short)
    assert not missing
    return [each.metadata.uid for each in found]


def test_the_one_that_is_nearest_to_what_is_missing_goes(node: Any) -> None:
    pods = [asking(node, uid, cpu) for uid, cpu in (("a", "100m"), ("b", "300m"), ("c", "2"))]
    assert chosen(node, pods, cpu=300) == ["b"]
    assert chosen(node, pods, cpu=50) == ["a"]
    assert chosen(node, pods, cpu=2200) == ["c", "b"]
    both = [asking(node, "a", "1"), asking(node, "b", "", "1Gi"), asking(node, "c", "900m", "900Mi")]
    assert chosen(node, both, cpu=1000, memory=1 << 30) == ["c", "a", "b"]


def test_those_that_were_promised_least_go_first(node: Any) -> None:
    best_effort = node.pod(uid="besteffort")
    burstable = asking(node, "burstable", "1")
    guaranteed = asking(node, "guaranteed", "1", "1Gi", limits=True)
    pods = [guaranteed, burstable, best_effort]
    assert chosen(node, pods, pods=1) == ["besteffort"]
    assert chosen(node, pods, cpu=500) == ["burstable"]
    assert chosen(node, pods, cpu=1500) == ["burstable", "guaranteed"]
    assert chosen(node, pods, cpu=500, pods=2) == ["besteffort", "burstable"]


def test_critical_and_static_pods_are_not_touched_unless_their_priority_is_less(node: Any) -> None:
    static = node.pod(uid="s", meta={"annotations": {"kubernetes.io/config.source": "file"}})
    pods = [static, asking(node, "a", "4", priority=CRITICAL)]
    assert victims(node.pod(uid="new", priority=CRITICAL), pods, {"cpu": 100}) == ([], {"cpu": 100})
    found, _ = victims(node.pod(uid="new", priority=CRITICAL + 1000), pods, {"cpu": 100})
    assert [each.metadata.uid for each in found] == ["a"]
    assert victims(node.pod(uid="new"), [asking(node, "b", "4")], {"cpu": 100}) == ([], {"cpu": 100})


class Full:
    """A node with two processors and room for few pods."""

    def __init__(self, node: Any, pods: int = 10) -> None:
        self.node = node
        self.workers: list[PodWorker] = []
        node.host.allocations = NodeAllocations({"cpu": "2", "memory": "1Gi", "pods": str(pods)})
        node.host.preempt = Preemption("node-1", self, node.host.allocations, node.clock).admit

    def workers_of(self, node: str) -> list[PodWorker]:
        return [each for each in self.workers if not each.settled]

    @asynccontextmanager
    async def running(self, *pods: Any) -> AsyncGenerator[None]:
        async with cancelled(self.node.runtime.run(self.node.wake), *(self._worker(each).run() for each in pods)):
            await self.node.settle(lambda: all(self.phase(each.metadata.uid) == "Running" for each in pods))
            yield

    def _worker(self, pod: Any) -> PodWorker:
        worker = self.node.workers[pod.metadata.uid] = PodWorker(self.node.host, pod)
        self.workers.append(worker)
        return worker

    @asynccontextmanager
    async def arrived(self, pod: Any) -> AsyncGenerator[None]:
        async with cancelled(self._worker(pod).run()):
            await self.node.clock.advance(0)
            yield

    def status(self, uid: str) -> dict[str, Any]:
        return next((status for told, status, _ in reversed(self.node.told.reports) if told == uid), {})

    def phase(self, uid: str) -> str:
        return self.status(uid).get("phase", "")


@pytest.fixture
def full(node: Any) -> Full:
    return Full(node)


async def test_a_critical_pod_runs_once_another_has_ended_for_it(node: Any, full: Full) -> None:
    async with full.running(asking(node, "a", "1500m"), asking(node, "b", "500m")):
        async with full.arrived(asking(node, "new", "1", priority=CRITICAL)):
            await node.settle(lambda: full.phase("a") == "Failed")
            await node.clock.advance(0.2)
            await node.settle(lambda: full.phase("new") == "Running")
        status = full.status("a")
        assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
        [disrupted] = [each for each in status["conditions"] if each["type"] == "DisruptionTarget"]
        assert disrupted["message"] == "Pod was preempted by Kubelet to accommodate a critical pod."
        assert ("Preempting", "Preempted in order to admit critical pod") in node.told.events
        assert full.phase("b") == "Running"


async def test_its_room_is_its_own_while_it_waits(node: Any, full: Full) -> None:
    slow = {"name": "web", "resources": {"requests": {"cpu": "2"}}, "env": node.env(SIMULATED_STOP_SECONDS="3600")}
    async with (
        full.running(node.pod(slow, uid="slow", terminationGracePeriodSeconds=20)),
        full.arrived(asking(node, "new", "1500m", priority=CRITICAL)),
        full.arrived(asking(node, "other", "1")),
    ):
        await node.settle(lambda: full.phase("other") == "Failed")
        assert full.status("other")["reason"] == "OutOfcpu"
        assert full.phase("new") == ""
        await node.clock.advance(21)
        await node.clock.advance(1)
        await node.settle(lambda: full.phase("new") == "Running")


async def test_other_pods_are_refused_as_ever(node: Any, full: Full) -> None:
    async with full.running(asking(node, "a", "2")), full.arrived(asking(node, "new", "1", priority=1000)):
        await node.settle(lambda: full.phase("new") == "Failed")
        assert full.status("new")["reason"] == "OutOfcpu"
        assert full.phase("a") == "Running"


async def test_one_that_could_never_fit_ends_nobody(node: Any, full: Full) -> None:
    async with full.running(asking(node, "a", "1")), full.arrived(asking(node, "new", "3", priority=CRITICAL)):
        await node.settle(lambda: full.phase("new") == "Failed")
        assert full.status("new")["reason"] == "UnexpectedAdmissionError"
        assert full.status("new")["message"].endswith(
            "preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: "
            "[(res: cpu, q: 1000), ]"
        ), full.status("new")
        assert full.phase("a") == "Running"


async def test_a_whole_agent_does_so(cluster: Cluster) -> None:
    config = msgspec.structs.replace(CONFIG, capacity={"cpu": "1"})
    async with agent(cluster, simulated_places(config, SystemClock())):
        for name, priority in (("big", 0), ("critical", CRITICAL)):
            document = pod(name)
            document["spec"]["priority"] = priority
            document["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "600m"}}
            await cluster.assign(document)
            await until(lambda name=name: cluster.status(name).get("phase") == "Running")
        assert cluster.status("big")["reason"] == "Preempting"
