"""An autoscaled deployment in memory; what its pods use is told as a node would tell it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from memory_cluster import Cluster, deployment, running_cluster

from orch.bus.subjects import DECISIONS, decision_subject, metrics_subject
from orch.clock import ManualClock
from orch.objects.autoscaling import HorizontalPodAutoscaler
from orch.objects.scheme import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS
from orch_api.storage import relay
from orch_pb.v1.autoscaling_pb2 import AutoscalingDecision
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

NANO = 1_000_000_000
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}


class Scene:
    """Plays the nodes' part in autoscaling: every second each pod has used so much."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clock = cluster.clock
        self.load: Callable[[str], int] = lambda _: 100
        self.memory = 64 << 20
        self._spent: dict[str, int] = {}

    async def deploy(self, name: str = "web", replicas: int = 1, cpu: str = "200m", **spec: Any) -> None:
        document = deployment(name, replicas, **spec)
        (container,) = document["spec"]["template"]["spec"]["containers"]
        if cpu:
            container["resources"] = {"requests": {"cpu": cpu, "memory": "64Mi"}}
        await self.cluster.client.create(DEPLOYMENTS, "default", document)

    async def autoscale(self, name: str = "web", metrics: Any = None, behavior: Any = None, **spec: Any) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": spec.pop("target", "web")}
        body = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {"scaleTargetRef": target, "maxReplicas": 10, "metrics": metrics or [CPU], **spec},
        }
        if behavior is not None:
            body["spec"]["behavior"] = behavior
        await self.cluster.client.create(HORIZONTAL_POD_AUTOSCALERS, "default", body)

    async def hpa(self, name: str = "web") -> HorizontalPodAutoscaler:
        return await self.cluster.client.get(HORIZONTAL_POD_AUTOSCALERS, "default", name)

    async def conditions(self, name: str = "web") -> dict[str, tuple[str, str, str]]:
        return {one.type: (one.status, one.reason, one.message) for one in (await self.hpa(name)).status.conditions}

    async def reason(self, kind: str, name: str = "web") -> str:
        return (await self.conditions(name)).get(kind, ("", "", ""))[1]

    async def replicas(self, name: str = "web") -> int | None:
        return (await self.cluster.client.get(DEPLOYMENTS, "default", name)).spec.replicas

    async def decision(self, name: str = "web") -> AutoscalingDecision | None:
        found: AutoscalingDecision | None = None
        subject = decision_subject("autoscaler", "default", name)
        async for message in self.cluster.api.bus("orch:admin").follow(DECISIONS.name, [subject]):
            if hasattr(message, "data"):
                found = AutoscalingDecision.FromString(message.data)
            elif message.value == "synced":
                return found
        return None

    async def run(self) -> None:
        """Tell samples every second, for ever."""
        while True:
            await self.tell()
            await self.clock.sleep(1)

    async def tell(self) -> None:
        at = int(self.clock.now().timestamp() * NANO)
        pods: dict[str, list[PodUsage]] = {name: [] for name in self.cluster.nodes}
        for item in self.cluster.pods.items("default"):
            node = item.object.spec.node_name
            if not node or item.object.status.phase != "Running":
                continue
            self._spent[item.uid] = self._spent.get(item.uid, 0) + self.load(item.name) * 1_000_000
            used = ContainerUsage(container="main", cpu_nanos=self._spent[item.uid], memory_bytes=self.memory)
            pods[node].append(PodUsage(namespace="default", name=item.name, uid=item.uid, containers=[used]))
        for node, listed in pods.items():
            sample = UsageSample(node=node, unix_nanos=at, pods=listed)
            bus = self.cluster.api.broker.connect(f"system:node:{node}")
            await bus.publish(metrics_subject(node), sample.SerializeToString())

    async def until_replicas(self, count: int, seconds: float = 60) -> float:
        """Wait until the target shall have so many pods; return after how many seconds."""
        begun = self.clock.monotonic()

        async def reached() -> bool:
            return await self.replicas() == count

        await self.cluster.eventually(reached, seconds)
        return self.clock.monotonic() - begun


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(relay, "_MARK_PERIOD", 0.02)
    async with running_cluster(ManualClock()) as cluster:
        scene = Scene(cluster)
        task = asyncio.create_task(scene.run())
        try:
            yield scene
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
