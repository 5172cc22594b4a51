"""A node without a cluster: the simulated runtime, a clock moved by hand, and all that workers tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from agent_cluster import Cluster, cancelled

from orch.bus import rpc, subjects
from orch.clock import ManualClock
from orch.errors import NotFoundError
from orch.objects.pods import Pod
from orch_agent.network.simulated import SimulatedSandboxes
from orch_agent.pods.host import PodHost
from orch_agent.pods.worker import PodWorker
from orch_agent.runtimes.simulated import SimulatedRuntime
from orch_pb.v1 import rpc_pb2


class Objects:
    """The api's objects that a pod may read."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, str], dict[str, Any]] = {}

    async def get(self, kind: Any, namespace: str, name: str) -> Any:
        found = self.held.get((kind.resource, namespace, name))
        if found is None:
            raise NotFoundError.of(kind.resource, kind.group, name)
        return msgspec.convert(found, kind.view)


class Told:
    """What workers reported, newest last."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, dict[str, Any], bool]] = []
        self.events: list[tuple[str, str]] = []

    def report(self, node: str, pod: Pod, status: bytes, *, terminated: bool, trace: Any) -> None:
        self.reports.append((pod.metadata.uid, msgspec.json.decode(status), terminated))

    def event(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    @property
    def status(self) -> dict[str, Any]:
        return self.reports[-1][1]

    @property
    def terminated(self) -> bool:
        return bool(self.reports) and self.reports[-1][2]

    @property
    def phases(self) -> list[str]:
        seen: list[str] = []
        for _, status, _ in self.reports:
            if not seen or seen[-1] != status["phase"]:
                seen.append(status["phase"])
        return seen

    def container(self, name: str) -> dict[str, Any]:
        statuses = [*self.status.get("initContainerStatuses", []), *self.status["containerStatuses"]]
        return next(each for each in statuses if each["name"] == name)

    def condition(self, kind: str) -> dict[str, Any]:
        return next(each for each in self.status["conditions"] if each["type"] == kind)


class SimulatedNode:
    """node-1, its workers, and its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.told = Told()
        self.objects = Objects()
        self.runtime = SimulatedRuntime(self.clock)
        self.workers: dict[str, PodWorker] = {}
        self.host = PodHost(
            node="node-1",
            host_ip="192.0.2.1",
            allocatable={"cpu": "4", "memory": "8Gi"},
            memory_capacity=8 << 30,
            runtime=self.runtime,
            scheme="simulated",
            sandboxes=SimulatedSandboxes("10.1.0.0/24"),
            files=None,
            reader=self.objects,
            outlet=self.told,
            clock=self.clock,
        )

    @staticmethod
    def pod(*containers: dict[str, Any], uid: str = "u1", status: Any = None, meta: Any = None, **spec: Any) -> Pod:
        """Return a pod named web-1 on node-1; a container needs only what the test is about."""
        containers = containers or ({"name": "web"},)
        for each in (*containers, *spec.get("initContainers", ())):
            each.setdefault("image", "nginx:1")
        document = {
            "metadata": {"name": "web-1", "namespace": "default", "uid": uid, **(meta or {})},
            "spec": {"nodeName": "node-1", "containers": list(containers), **spec},
            "status": status or {},
        }
        return msgspec.convert(document, Pod)

    @staticmethod
    def env(**values: object) -> list[dict[str, str]]:
        return [{"name": name, "value": str(value)} for name, value in values.items()]

    @staticmethod
    def deleted(pod: Pod, grace: int = 30) -> Pod:
        """Return the pod as it is after a graceful delete."""
        meta = msgspec.structs.replace(
            pod.metadata, deletion_timestamp="2026-01-01T00:00:00Z", deletion_grace_period_seconds=grace
        )
        return msgspec.structs.replace(pod, metadata=meta)

    async def settle(self, condition: Callable[[], bool]) -> None:
        """Let tasks run, without moving the clock, until the condition holds."""
        async with asyncio.timeout(5):
            while not condition():
                await self.clock.advance(0)

    def wake(self, uid: str) -> None:
        for worker in self.workers.values():
            worker.wake()

    @asynccontextmanager
    async def running(self, pod: Pod, **settings: Any) -> AsyncGenerator[PodWorker]:
        """Run a worker for `pod` within the context."""
        worker = PodWorker(self.host, pod, **settings)
        self.workers[pod.metadata.uid] = worker
        tasks = [asyncio.create_task(self.runtime.run(self.wake)), asyncio.create_task(worker.run())]
        try:
            await self.clock.advance(0)
            await self.clock.advance(0)
            yield worker
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode()


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
