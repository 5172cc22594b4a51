"""Simulated nodes in one process of the agent: how long many pods take to be reported Running, and the memory.

The agent stands between an in-memory bus and an api that this module plays, all in one process: the figure for memory
has the bus and its streams in it. `python -m benchmarks.fleet --nodes 10000 --pods 100000` is the large one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from orch.bus import subjects
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import API, FLEET, permissions_of
from orch.bus.protocol import Bus
from orch.clock import SystemClock
from orch_agent.agent import serve, simulated_places
from orch_agent.config import AgentConfig, FleetSettings, Intervals
from orch_pb.v1 import node_pb2, object_pb2

_MIB = 1 << 20
_LONGEST = 3600.0
_BATCH = 500


class Api:
    """Takes what nodes report, and gives them pods."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._revision = 1000
        self.nodes: set[str] = set()
        self.running: set[str] = set()
        self.reports = 0

    async def take_reports(self) -> None:
        """Count for ever."""
        async with aclosing(self._bus.work(subjects.REPORTS.name, "api")) as deliveries:
            async for delivery in deliveries:
                self.reports += 1
                node, what = subjects.parse_report(delivery.message.subject)
                if what == "node":
                    self.nodes.add(node)
                else:
                    report = node_pb2.PodReport.FromString(delivery.message.data)
                    if b'"phase":"Running"' in report.status:
                        self.running.add(report.uid)
                await delivery.done()

    async def mark(self) -> None:
        """Say, as the relay does, that all pods and services have been sent."""
        self._revision += 1024
        event = object_pb2.ObjectEvent(type=object_pb2.ChangeType.PROGRESS, revision=self._revision)
        for subject in (subjects.node_pods_progress("node-1"), subjects.objects_progress("", "services")):
            await self._bus.append(subject, event.SerializeToString())

    async def assign(self, number: int, node: str) -> None:
        """Give a node a pod."""
        self._revision += 1024
        document = _pod(number, node)
        meta, json = document["metadata"], msgspec.json.encode(document)
        event = object_pb2.ObjectEvent(
            type=object_pb2.ChangeType.ADDED,
            version="v1",
            resource="pods",
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            revision=self._revision,
            checksum=zlib.crc32(json),
            json=json,
        )
        subject = subjects.node_pod_subject(node, meta["namespace"], meta["name"])
        await self._bus.append(subject, event.SerializeToString())


async def measure(nodes: int, pods: int) -> None:
    """Bring a fleet up, give it pods, and print what that took."""
    broker = MemoryBroker(permissions=permissions_of)
    bus = broker.connect(API)
    for stream in subjects.STREAMS:
        await bus.ensure_stream(stream)
    api, clock = Api(bus), SystemClock()
    config = AgentConfig(
        runtime="simulated",
        fleet=FleetSettings(nodes=nodes),
        intervals=Intervals(heartbeat=10, usage=5, usage_quiet=60, lease=0),
        events=False,
    )
    print(f"before: {resident():,.0f} MiB")
    begun = time.monotonic()
    fleet = serve(config, broker.connect(FLEET), clock, simulated_places(config, clock))
    tasks = [asyncio.create_task(fleet), asyncio.create_task(api.take_reports())]
    try:
        await _until(tasks, lambda: len(api.nodes) == nodes)
        print(f"{nodes:,} nodes registered: {time.monotonic() - begun:.0f} s, {resident():,.0f} MiB")
        begun = time.monotonic()
        await api.mark()
        for number in range(pods):
            await api.assign(number, f"node-{number % nodes + 1}")
            if number % _BATCH == 0:
                await api.mark()
                await asyncio.sleep(0)
        await api.mark()
        await _until(tasks, lambda: len(api.running) == pods)
        took = time.monotonic() - begun
        gc.collect()
        rate = f"{pods / took:,.0f}/s"
        print(f"{pods:,} pods reported Running: {took:.0f} s ({rate}), {resident():,.0f} MiB, {api.reports:,} reports")
        before = time.process_time()
        await asyncio.sleep(20)
        print(f"at rest: {100 * (time.process_time() - before) / 20:.0f} % of a core, {resident():,.0f} MiB")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(tasks: list[asyncio.Task[None]], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST
    while not condition():
        for task in tasks:
            if task.done():
                task.result()
        if time.monotonic() > deadline:
            raise TimeoutError("the fleet is not up")
        await asyncio.sleep(0.2)


def resident() -> float:
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / _MIB


def _pod(number: int, node: str) -> dict[str, Any]:
    name = f"web-{number // 10}-{number:x}"
    labels = {"app": f"web-{number // 10}", "pod-template-hash": "5d4f8c7b9"}
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
    container = {
        "name": "main",
        "image": "registry.example.com/team/web:1.2.3",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [{"name": "MODE", "value": "production"}],
        "resources": resources,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": f"team-{number % 50}",
            "uid": f"00000000-0000-4000-8000-{number:012x}",
            "labels": labels,
        },
        "spec": {
            "nodeName": node,
            "containers": [container],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "schedulerName": "default-scheduler",
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def main(arguments: Sequence[str] = ()) -> None:
    """Measure a small fleet, or the one that the arguments ask for."""
    parser = argparse.ArgumentParser(description="Measure simulated nodes in one process.")
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--pods", type=int, default=5_000)
    options = parser.parse_args(arguments)
    uvloop.run(measure(options.nodes, options.pods))


if __name__ == "__main__":
    main(sys.argv[1:])
