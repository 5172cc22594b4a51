"""The shutdown of a node: who ends when, what is told of it, and who is let in no more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from agent_cluster import CONFIG, Cluster, cancelled, pod, until

from orch.clock import SystemClock
from orch.errors import ConfigError
from orch_agent.agent import serve, simulated_places
from orch_agent.config import AgentConfig
from orch_agent.node import Machine, Node, NodeSettings
from orch_agent.pods.worker import PodWorker
from orch_agent.shutdown.node_shutdown import NodeShutdown
from orch_agent.shutdown.settings import PriorityPeriod, ShutdownSettings, by_period

CRITICAL = 2_000_000_000
MESSAGE = "Pod was terminated in response to imminent node shutdown."


def by_priority(*pairs: tuple[int, int]) -> ShutdownSettings:
    periods = [PriorityPeriod(priority=each, shutdown_grace_period_seconds=seconds) for each, seconds in pairs]
    return ShutdownSettings(grace_period_by_pod_priority=tuple(periods))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (ShutdownSettings(grace_period=0.5), "shutdown.grace_period: must be either zero or at least 1 s"),
        (ShutdownSettings(grace_period_critical_pods=5), "must not be longer than grace_period"),
        (ShutdownSettings(grace_period=5, grace_period_critical_pods=6), "must not be longer than grace_period"),
        (by_priority((1, -1)), r"priority\[0\]\.shutdown_grace_period_seconds: must not be negative"),
        (by_priority((1, 1), (1, 2)), r"priority\[1\]\.priority: 1 is named twice"),
        (msgspec.structs.replace(by_priority((1, 1)), grace_period=3), "must not be set together"),
    ],
)
def test_periods_that_cannot_be_meant_are_told(settings: ShutdownSettings, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AgentConfig(runtime="simulated", shutdown=settings).check()


def test_two_periods_stand_for_two_priorities() -> None:
    periods = ShutdownSettings(grace_period=30, grace_period_critical_pods=10).periods
    assert [(each.priority, each.shutdown_grace_period_seconds) for each in periods] == [(0, 20), (CRITICAL, 10)]
    assert ShutdownSettings().periods == ()


def test_pods_go_with_the_next_lower_priority_and_the_lowest_with_the_first(node: Any) -> None:
    periods = by_priority((1000, 5), (0, 10), (CRITICAL, 1)).periods
    pods = [(node.pod(priority=each), each) for each in (-5, 0, 999, 1000, CRITICAL - 1, CRITICAL, CRITICAL + 1000)]
    found = {period.priority: group for period, group in by_period(periods, pods)}
    assert found == {0: [-5, 0, 999], 1000: [1000, CRITICAL - 1], CRITICAL: [CRITICAL, CRITICAL + 1000]}


class Going:
    """A simulated node and its shutdown."""

    def __init__(self, node: Any, settings: ShutdownSettings) -> None:
        self.node = node
        machine = Machine(cpus=1, memory_bytes=1 << 30, disk_bytes=1 << 30, info=_INFO)
        self.told_of = Node(NodeSettings(name="node-1", address="192.0.2.1", pod_cidr=""), machine, node.runtime)
        self.workers: list[PodWorker] = []
        self.events: list[tuple[str, str]] = []
        self.idle = True
        self.left = 0
        self.turns = 0
        self.shutdown = NodeShutdown(
            settings, {"node-1": self.told_of}, {"node-1": node.host}, self, self, node.clock, leave=self.leave
        )

    def workers_of(self, name: str) -> list[PodWorker]:
        return [each for each in self.workers if not each.settled]

    def node_event(self, name: str, kind: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    def tell_nodes(self) -> None:
        self.turns += 1

    def leave(self) -> None:
        self.left += 1

    @asynccontextmanager
    async def running(self, *pods: Any) -> AsyncGenerator[None]:
        node = self.node
        self.workers = [PodWorker(node.host, each) for each in pods]
        node.workers = {each.pod.metadata.uid: each for each in self.workers}
        async with cancelled(node.runtime.run(node.wake), *(each.run() for each in self.workers)):
            await node.settle(lambda: all(self.phase(each.pod.metadata.uid) == "Running" for each in self.workers))
            yield

    def status(self, uid: str) -> dict[str, Any]:
        return next((status for told, status, _ in reversed(self.node.told.reports) if told == uid), {})

    def phase(self, uid: str) -> str:
        return self.status(uid).get("phase", "")

    def ready(self) -> tuple[str, str, str]:
        document = msgspec.json.decode(self.told_of.document(self.node.clock.now()))
        ready = next(each for each in document["status"]["conditions"] if each["type"] == "Ready")
        return ready["status"], ready["reason"], ready["message"]


_INFO = {"architecture": "amd64", "operatingSystem": "linux"}


def stubborn(node: Any) -> dict[str, Any]:
    return {"name": "web", "env": node.env(SIMULATED_STOP_SECONDS="3600")}


async def test_pods_end_by_their_priorities_and_it_is_told(node: Any) -> None:
    going = Going(node, ShutdownSettings(grace_period=30, grace_period_critical_pods=10))
    plain, critical = node.pod(uid="plain"), node.pod(uid="critical", priority=CRITICAL)
    async with going.running(critical, plain), cancelled(_quietly(going.shutdown.end_pods())):
        await node.settle(lambda: going.phase("plain") == "Failed")
        assert going.phase("critical") == "Running"
        assert going.ready() == ("False", "KubeletNotReady", "node is shutting down")
        for _ in range(4):
            await node.clock.advance(0.1)
        await node.settle(lambda: going.phase("critical") == "Failed")
        for uid in ("plain", "critical"):
            status = going.status(uid)
            assert (status["reason"], status["message"]) == ("Terminated", MESSAGE)
            [disrupted] = [each for each in status["conditions"] if each["type"] == "DisruptionTarget"]
            assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
        assert going.events == [("NodeShutdown", "Shutdown manager detected shutdown event")]
        assert {reason for reason, _ in node.told.events}.isdisjoint({"Evicted", "Terminated"})
        assert going.turns == 1


async def test_a_pod_is_killed_when_its_period_is_over_and_the_next_ones_have_theirs(node: Any) -> None:
    going = Going(node, by_priority((0, 5), (CRITICAL, 3)))
    slow = node.pod(stubborn(node), uid="slow", terminationGracePeriodSeconds=3600)
    critical = node.pod(uid="critical", priority=CRITICAL)
    async with going.running(slow, critical), cancelled(_quietly(going.shutdown.end_pods())):
        await node.clock.advance(4.5)
        assert (going.phase("slow"), going.phase("critical")) == ("Running", "Running")
        await node.clock.advance(0.6)
        await node.clock.advance(0.1)
        await node.settle(lambda: going.phase("critical") == "Failed" == going.phase("slow"))
        [ended] = going.status("slow")["containerStatuses"]
        assert ended["state"]["terminated"]["exitCode"] == 137


async def test_new_pods_are_refused_until_it_is_called_off(node: Any) -> None:
    going = Going(node, ShutdownSettings(grace_period=10))
    async with cancelled(_quietly(going.shutdown.end_pods())):
        await node.clock.advance(0.1)
        async with node.running(node.pod(uid="new")):
            await node.settle(lambda: going.phase("new") == "Failed")
        assert going.status("new")["reason"] == "NodeShutdown"
        assert going.status("new")["message"].endswith("Pod was rejected as the node is shutting down.")
        assert node.told.events[-1] == ("NodeShutdown", "Pod was rejected as the node is shutting down.")
    going.shutdown.resume()
    assert going.ready()[0] == "True"
    async with node.running(node.pod(uid="later")):
        await node.settle(lambda: going.phase("later") == "Running")


async def test_a_pod_that_has_succeeded_stays_so(node: Any) -> None:
    going = Going(node, ShutdownSettings(grace_period=10))
    async with going.running(node.pod({"name": "web"}, uid="job", restartPolicy="Never")):
        [info] = await node.runtime.containers("job")
        await node.runtime.terminate(info.id)
        await node.settle(lambda: going.phase("job") == "Succeeded")
        await going.shutdown.end_pods()
        assert going.phase("job") == "Succeeded"


async def test_a_pod_that_is_deleted_meanwhile_is_told_to_be_gone(node: Any) -> None:
    going = Going(node, ShutdownSettings(grace_period=10))
    pod = node.pod(stubborn(node))
    async with going.running(pod):
        ending = asyncio.create_task(going.shutdown.end_pods())
        await node.clock.advance(1)
        going.workers[0].update(node.deleted(pod), None)
        for _ in range(12):
            await node.clock.advance(1)
        await ending
        assert going.status("u1")["reason"] == "Terminated"
        assert node.told.terminated


async def test_a_bus_that_takes_nothing_holds_the_end_up_for_moments_only(node: Any) -> None:
    going = Going(node, ShutdownSettings(grace_period=10))
    going.idle = False
    async with going.running(node.pod()):
        ending = asyncio.create_task(going.shutdown.end_pods())
        for _ in range(30):
            await node.clock.advance(0.1)
        await ending


async def test_without_a_period_the_signal_ends_the_agent_alone(node: Any) -> None:
    going = Going(node, ShutdownSettings())
    async with going.running(node.pod()):
        run = asyncio.create_task(going.shutdown.run())
        await node.clock.advance(0)
        os.kill(os.getpid(), signal.SIGPWR)
        await run
        assert (going.left, going.phase("u1"), going.ready()[0]) == (1, "Running", "True")


async def test_the_signal_ends_the_pods_of_a_whole_agent(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    left = asyncio.Event()
    monkeypatch.setattr("orch_agent.shutdown.node_shutdown.signal.raise_signal", lambda _number: left.set())
    await cluster.mark_services()
    bus = cluster.broker.connect("system:nodes:simulated")
    config = msgspec.structs.replace(CONFIG, shutdown=ShutdownSettings(grace_period=20, grace_period_critical_pods=5))
    places = simulated_places(config, SystemClock())
    async with cancelled(serve(config, bus, SystemClock(), places)):
        await cluster.assign(pod("a"))
        await until(lambda: cluster.status("a").get("phase") == "Running")
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGPWR)
        await until(left.is_set)
        assert cluster.status("a")["reason"] == "Terminated"
        ready = {each["type"]: each for each in cluster.nodes["node-1"]["status"]["conditions"]}["Ready"]
        assert ready["message"] == "node is shutting down"
    await bus.close()


async def _quietly(ending: Any) -> None:
    """Let it go on until the test is over; that it ends before is as well."""
    await ending
