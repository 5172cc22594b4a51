"""The whole process, simulated, between an in-memory bus and an api that is played by the test."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from orch.bus import rpc, subjects
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import API, CONTROLLERS, FLEET, permissions_of
from orch.bus.streams import open_stream
from orch.clock import SystemClock
from orch.errors import ApiError, BadRequestError, ForbiddenError, NotFoundError
from orch_agent.agent import serve, simulated_places
from orch_agent.config import AgentConfig, FleetSettings, Intervals
from orch_agent.runtimes.protocol import State
from orch_pb.v1 import node_pb2, object_pb2, rpc_pb2

CONFIG = AgentConfig(
    runtime="simulated",
    fleet=FleetSettings(nodes=2),
    intervals=Intervals(heartbeat=0.05, usage=0.1),
    events=False,
)


class Cluster:
    """Plays the api: assigns pods, answers questions, takes reports."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(permissions=permissions_of)
        self.bus = self.broker.connect(API)
        self.revision = 1000
        self.exists: set[str] = set()
        self.refused: set[str] = set()
        self.pods: dict[str, node_pb2.PodReport] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.questions = 0

    async def run(self) -> None:
        async with aclosing(self.bus.work(subjects.REPORTS.name, "api")) as deliveries:
            async for delivery in deliveries:
                _, what = subjects.parse_report(delivery.message.subject)
                if what == "node":
                    node = node_pb2.NodeReport.FromString(delivery.message.data)
                    self.nodes[node.node] = msgspec.json.decode(node.object)
                else:
                    report = node_pb2.PodReport.FromString(delivery.message.data)
                    self.pods[report.name] = report
                await delivery.done()

    async def answer(self, user: str, request: rpc_pb2.GetRequest) -> rpc_pb2.WriteReply:
        assert user == FLEET
        self.questions += 1
        if request.ref.name in self.refused:
            return rpc_pb2.WriteReply(status=ForbiddenError.of("pods", "", request.ref.name, "no").encode())
        if request.ref.name in self.exists:
            return rpc_pb2.WriteReply(json=msgspec.json.encode(pod(request.ref.name)))
        return rpc_pb2.WriteReply(status=NotFoundError.of("pods", "", request.ref.name).encode())

    async def assign(self, document: dict[str, Any], change: Any = object_pb2.ChangeType.ADDED) -> None:
        self.revision += 1024
        meta = document["metadata"]
        json = msgspec.json.encode(document)
        event = object_pb2.ObjectEvent(
            type=change,
            version="v1",
            resource="pods",
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            revision=self.revision,
            checksum=zlib.crc32(json),
            json=json,
        )
        self.exists.add(meta["name"])
        subject = subjects.node_pod_subject(document["spec"]["nodeName"], meta["namespace"], meta["name"])
        await self.bus.append(subject, event.SerializeToString())

    async def mark(self, node: str) -> None:
        """Say, as the relay does, that all of the node's pods have been sent."""
        self.revision += 1024
        event = object_pb2.ObjectEvent(type=object_pb2.ChangeType.PROGRESS, revision=self.revision)
        await self.bus.append(subjects.node_pods_progress(node), event.SerializeToString())

    def status(self, name: str) -> dict[str, Any]:
        return msgspec.json.decode(self.pods[name].status) if name in self.pods else {}


def pod(name: str, node: str = "node-1", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **meta},
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "nginx:1"}]},
    }


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a condition over several parts has no one event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def cancelled(*coroutines: Any) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    made = Cluster()
    for stream in subjects.STREAMS:
        await made.bus.ensure_stream(stream)
    served = await rpc.serve(made.bus, "get", rpc_pb2.GetRequest, made.answer)
    async with cancelled(made.run()):
        yield made
    await served.stop()
    await made.bus.close()


@asynccontextmanager
async def agent(cluster: Cluster, places: Any = None) -> AsyncGenerator[Any]:
    bus = cluster.broker.connect(FLEET)
    clock = SystemClock()
    places = places or simulated_places(CONFIG, clock)
    async with cancelled(serve(CONFIG, bus, clock, places)):
        yield places
    await bus.close()


async def test_nodes_register_and_show_that_they_live(cluster: Cluster) -> None:
    controllers = cluster.broker.connect(CONTROLLERS)
    async with (
        agent(cluster),
        controllers.subscribe(subjects.HEARTBEATS_OF_ALL) as beats,
        controllers.subscribe(subjects.METRICS_OF_ALL) as samples,
    ):
        await until(lambda: len(cluster.nodes) == 2)
        node = cluster.nodes["node-2"]
        assert node["spec"]["podCIDR"] == "10.64.1.0/24"
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-2"
        assert {each["type"] for each in node["status"]["conditions"]} == {
            "Ready",
            "MemoryPressure",
            "DiskPressure",
            "PIDPressure",
        }
        assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.0+orch"
        beat = node_pb2.Heartbeat.FromString((await anext(beats)).data)
        assert beat.node in {"node-1", "node-2"}
        sample = node_pb2.UsageSample.FromString((await anext(samples)).data)
        assert sample.node in {"node-1", "node-2"}


async def test_an_assigned_pod_runs_and_a_deleted_one_is_reported_terminated(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await cluster.assign(pod("b", "node-2"))
        await until(lambda: cluster.status("a").get("phase") == "Running" == cluster.status("b").get("phase"))
        deletion = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
        await cluster.assign(pod("a", **deletion), object_pb2.ChangeType.MODIFIED)
        await until(lambda: cluster.pods["a"].terminated)
        await cluster.assign(pod("a", **deletion), object_pb2.ChangeType.DELETED)
        assert await places[0].runtime.containers() == []
        assert len(await places[1].runtime.containers()) == 1


async def test_a_lost_stream_stops_no_pod_that_the_api_still_has(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await cluster.assign(pod("gone"))
        await until(lambda: cluster.status("a").get("phase") == cluster.status("gone").get("phase") == "Running")
        await cluster.assign(pod("gone"), object_pb2.ChangeType.DELETED)
        await cluster.assign(pod("a"), object_pb2.ChangeType.DELETED)
        cluster.exists = {"a"}
        runtime = places[0].runtime

        await until(lambda: cluster.questions == 2 and len(runtime._containers) == 1)
        [info] = await runtime.containers()
        assert info.identity.pod == "a"
        assert info.state is State.RUNNING


async def test_a_pod_whose_name_another_node_has_now_is_gone(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await until(lambda: cluster.status("a").get("phase") == "Running")
        cluster.refused = {"a"}
        await cluster.assign(pod("a"), object_pb2.ChangeType.DELETED)
        await until(lambda: not places[0].runtime._containers)


async def test_a_new_process_adopts_what_runs_and_removes_what_is_not_wanted(cluster: Cluster) -> None:
    async with agent(cluster) as places:
        await cluster.assign(pod("a"))
        await cluster.assign(pod("old"))
        await until(lambda: cluster.status("a").get("phase") == cluster.status("old").get("phase") == "Running")
        kept = cluster.status("a")["containerStatuses"][0]["containerID"]
    await cluster.bus.purge(subjects.NODES.name, subjects.node_pod_subject("node-1", "default", "old"))
    cluster.exists = {"a"}
    cluster.pods.clear()
    await cluster.mark("node-1")
    async with agent(cluster, places):
        await until(lambda: cluster.status("a").get("phase") == "Running")
        web = cluster.status("a")["containerStatuses"][0]
        assert web["containerID"] == kept
        assert web["restartCount"] == 0
        await until(lambda: len(places[0].runtime._containers) == 1)


async def logs(cluster: Cluster, **request: Any) -> bytes:
    wanted = node_pb2.LogsRequest(namespace="default", pod="a", uid="uid-a", **request)
    subject = subjects.node_rpc_subject("node-1", "logs")
    received = b""
    async with await open_stream(cluster.bus, subject, wanted.SerializeToString()) as stream:
        async for _, data in stream:
            received += data or b""
    return received


async def exec_in(cluster: Cluster, *command: str, feed: bytes = b"") -> tuple[dict[int, bytes], dict[str, Any]]:
    wanted = node_pb2.ExecRequest(
        namespace="default", pod="a", uid="uid-a", command=command, stdin=bool(feed), stdout=True, stderr=True
    )
    subject = subjects.node_rpc_subject("node-1", "exec")
    channels: dict[int, bytes] = {}
    async with await open_stream(cluster.bus, subject, wanted.SerializeToString()) as stream:
        if feed:
            await stream.send(0, feed)
            await stream.end(0)
        async for channel, data in stream:
            channels[channel] = channels.get(channel, b"") + (data or b"")
    return channels, msgspec.json.decode(channels.pop(3))


async def test_logs_and_commands_go_over_the_bus(cluster: Cluster) -> None:
    async with agent(cluster):
        await cluster.assign(pod("a"))
        await until(lambda: cluster.status("a").get("phase") == "Running")
        assert await logs(cluster) == b"web started\n"
        assert (await logs(cluster, timestamps=True)).endswith(b"Z web started\n")
        assert await logs(cluster, limit_bytes=3) == b"web"
        assert await logs(cluster, tail_lines=0) == b""
        with pytest.raises(BadRequestError, match='previous terminated container "web" in pod "a" not found'):
            await logs(cluster, previous=True)
        with pytest.raises(BadRequestError, match="container nope is not valid for pod a"):
            await logs(cluster, container="nope")
        output, status = await exec_in(cluster, "cat", feed=b"hello")
        assert (output, status["status"]) == ({1: b"hello"}, "Success")
        output, status = await exec_in(cluster, "exit", "3")
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        with pytest.raises(ApiError, match="at least 1 command"):
            await exec_in(cluster)
