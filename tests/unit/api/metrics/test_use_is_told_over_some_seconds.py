"""Samples come every second; what kubectl top shows is not the last second's noise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgi import Connection

from orch.bus import subjects
from orch.clock import ManualClock
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application
from orch_api.usage import _Samples
from orch_pb.v1.node_pb2 import ContainerUsage, PodUsage, UsageSample

PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
SECOND = 1_000_000_000


class Node:
    """A node that tells what its pods have used, in thousandths of a processor times seconds."""

    def __init__(self, api: Any, http: Connection, clock: ManualClock) -> None:
        self.api = api
        self.http = http
        self.clock = clock
        self.uids: dict[str, str] = {}
        self.spent: dict[str, int] = {}

    async def add(self, name: str) -> None:
        body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
        made = await self.http("POST", "/api/v1/namespaces/default/pods", body)
        self.uids[name] = made.json["metadata"]["uid"]
        self.spent[name] = 0

    async def tell(self, **used: int) -> None:
        """Let a second pass in which the pods used so much, and tell the sample."""
        await self.clock.advance(1)
        pods: list[PodUsage] = []
        for name, uid in self.uids.items():
            self.spent[name] += used.get(name, 0) * 1_000_000
            usage = ContainerUsage(container="main", cpu_nanos=self.spent[name], memory_bytes=1 << 20)
            pods.append(PodUsage(namespace="default", name=name, uid=uid, containers=[usage]))
        sample = UsageSample(node="one", unix_nanos=int(self.clock.now().timestamp() * SECOND), pods=pods)
        subject = subjects.metrics_subject("one")
        # Handed over directly, so that it is there when this returns.
        samples = self.api.core.usage._samples
        samples.setdefault(subject, _Samples()).take(sample.SerializeToString(), self.clock.monotonic())

    async def shown(self) -> dict[str, tuple[str, str]]:
        items = (await self.http("GET", PODS)).json["items"]
        return {one["metadata"]["name"]: (one["containers"][0]["usage"]["cpu"], one["window"]) for one in items}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    clock = ManualClock()
    async with in_memory_api(clock) as api:
        yield Node(api, Connection(application(api.core, ApiConfig())), clock)


async def test_a_busy_second_is_a_part_of_the_window(node: Node) -> None:
    await node.add("web")
    for second in range(25):
        await node.tell(web=1100 if second == 24 else 100)
    cpu, window = (await node.shown())["web"]
    assert 10 <= float(window.removesuffix("s")) <= 20
    assert 100 < int(cpu.removesuffix("n")) / 1e6 < 250


async def test_a_new_pod_is_told_of_as_soon_as_two_samples_know_it(node: Node) -> None:
    await node.add("web")
    for _ in range(25):
        await node.tell(web=100)
    await node.add("new")
    await node.tell(web=100, new=50)
    assert "new" not in await node.shown(), "one reading of a counter says nothing"
    await node.tell(web=100, new=50)
    assert (await node.shown())["new"] == ("50000000n", "1s")


async def test_two_samples_are_enough(node: Node) -> None:
    await node.add("web")
    await node.tell(web=100)
    assert await node.shown() == {}
    await node.tell(web=100)
    assert await node.shown() == {"web": ("100000000n", "1s")}
