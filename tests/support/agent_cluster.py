"""A whole agent process with simulated nodes, between an in-memory bus and an api that the test plays."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from orch.bus import subjects
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import API, FLEET, permissions_of
from orch.clock import SystemClock
from orch.errors import ForbiddenError, NotFoundError
from orch_agent.agent import serve, simulated_places
from orch_agent.config import AgentConfig, FleetSettings, Intervals
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

    async def mark_services(self) -> None:
        """Say, as the relay does, that all services have been sent."""
        event = object_pb2.ObjectEvent(type=object_pb2.ChangeType.PROGRESS, revision=self.revision)
        await self.bus.append(subjects.objects_progress("", "services"), event.SerializeToString())

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


@asynccontextmanager
async def agent(cluster: Cluster, places: Any = None) -> AsyncGenerator[Any]:
    await cluster.mark_services()
    bus = cluster.broker.connect(FLEET)
    clock = SystemClock()
    places = places or simulated_places(CONFIG, clock)
    async with cancelled(serve(CONFIG, bus, clock, places)):
        yield places
    await bus.close()
