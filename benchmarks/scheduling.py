"""Pods from created to bound, as a client sees it over HTTPS: scheduler_perf's workloads, and pods that arrive evenly.

Nodes are objects without agents, as in scheduler_perf: what is measured is scheduler, api, store and bus.

    python -m benchmarks.scheduling --nodes 5000 --pods 5000 [--only plain,spread]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from benchmarks.https import Access

ROOT: Final = Path(__file__).resolve().parent.parent
ORCH: Final = ROOT / ".venv/bin/orch"
CONNECTIONS: Final = 64
ZONES: Final = 3
ARRIVALS: Final = (100, 500, 1000)
ARRIVAL_SECONDS: Final = 10
PATIENCE: Final = 600.0
_OK: Final = (200, 201)


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec = _Spec()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Pod


class Row(msgspec.Struct, frozen=True):
    """One line: pods bound a second, and from sent to seen bound, in milliseconds."""

    work: str
    pods: int
    rate: float
    p50: float
    p99: float


class Workload(msgspec.Struct, frozen=True):
    """Pods that are there before, and those that are measured. `churn`: each is deleted as soon as it is bound."""

    name: str
    pod: Callable[[int], dict[str, Any]]
    before: Callable[[int], dict[str, Any]] | None = None
    before_a_node: float = 0.0
    share: float = 1.0
    churn: bool = False


def pod(cpu: str = "100m", memory: str = "500Mi", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a pod of one container."""
    container = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
    }
    body: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels or {}}, "spec": body}


def _affinity(kind: str, color: str, key: str, weight: int = 0) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key}
    if weight:
        rule = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term}]}
    else:
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"affinity": {kind: rule}}


_HOST, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_SPREAD: Final[dict[str, Any]] = {
    "topologySpreadConstraints": [
        {
            "maxSkew": 5,
            "topologyKey": _ZONE,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"color": "blue"}},
        }
    ]
}
_IN_ZONES: Final[dict[str, Any]] = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": _ZONE, "operator": "In", "values": ["zone-0", "zone-1"]}]}
                ]
            }
        }
    }
}


def _mixed(number: int) -> dict[str, Any]:
    kinds = (
        pod(),
        pod(cpu="200m"),
        pod(labels={"color": "blue"}, **_SPREAD),
        pod(**_IN_ZONES),
        pod(labels={"color": "red"}, **_affinity("podAffinity", "red", _HOST, 1)),
    )
    return kinds[number % len(kinds)]


WORKLOADS: Final = (
    Workload("plain", lambda _: pod()),
    Workload("zone spread", lambda _: pod(labels={"color": "blue"}, **_SPREAD)),
    Workload(
        "required anti-affinity",
        lambda _: pod(labels={"color": "green"}, **_affinity("podAntiAffinity", "green", _HOST)),
        share=0.6,  # each has a node of its own
    ),
    Workload("required affinity", lambda _: pod(labels={"color": "blue"}, **_affinity("podAffinity", "blue", _ZONE))),
    Workload("preferred affinity", lambda _: pod(labels={"color": "red"}, **_affinity("podAffinity", "red", _HOST, 1))),
    Workload("node affinity", lambda _: pod(**_IN_ZONES)),
    Workload("mixed, deleted when bound", _mixed, churn=True),
    Workload(
        "preemption",
        lambda _: pod(cpu="3", priorityClassName="bench-high"),
        before=lambda _: pod(cpu="900m", priorityClassName="bench-low"),
        before_a_node=4.0,
        share=0.2,
    ),
)


class Http:
    """A connection that asks one thing at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._context = access.context()

    async def open(self) -> Http:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._access.port, ssl=self._context)
        return self

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def ask(self, method: str, path: str, body: bytes = b"", content: str = "application/json") -> bytes:
        """Return the answer's body. Raises RuntimeError for a refusal."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: orch\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        status, headers = await self._head()
        answer = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if status not in _OK:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return answer

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """Yield the lines of an answer that does not end."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: orch\r\n\r\n".encode())
        status, _ = await self._head()
        if status not in _OK:
            raise RuntimeError(f"GET {path}: {status}")
        rest = b""
        while size := int(await self._reader.readline(), 16):
            rest += (await self._reader.readexactly(size + 2))[:-2]
            *whole, rest = rest.split(b"\n")
            for line in whole:
                yield line

    async def _head(self) -> tuple[int, dict[str, str]]:
        text = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        return int(first.split()[1]), headers


class Space:
    """A namespace with its watch: when each pod was sent, and when it was seen bound."""

    def __init__(self, access: Access, name: str, connections: Sequence[Http]) -> None:
        self._access = access
        self.connections = connections
        self.path = f"/api/v1/namespaces/{name}/pods"
        self.name = name
        self.sent: dict[str, float] = {}
        self.bound: dict[str, float] = {}
        self.gone: set[str] = set()
        self._changed = asyncio.Event()
        self.on_bound: Callable[[str], None] | None = None

    async def watch(self) -> None:
        """Take note of what becomes of the pods, until cancelled."""
        decoder = msgspec.json.Decoder(_Event)
        http = await Http(self._access).open()
        try:
            async for line in http.lines(f"{self.path}?watch=true&allowWatchBookmarks=false"):
                event = decoder.decode(line)
                name = event.object.metadata.name
                if event.type == "DELETED":
                    self.gone.add(name)
                elif event.object.spec.node_name and name not in self.bound:
                    self.bound[name] = time.perf_counter()
                    if self.on_bound is not None:
                        self.on_bound(name)
                self._changed.set()
        finally:
            http.close()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what the watch shows. Raises TimeoutError after ten minutes."""
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    async def send(self, names: Sequence[str], document: Callable[[int], dict[str, Any]]) -> None:
        """Create pods on all connections at once."""
        bodies = list(enumerate(names))
        bodies.reverse()

        async def work(http: Http) -> None:
            while bodies:
                number, name = bodies.pop()
                await self.create(http, name, document(number))

        await asyncio.gather(*(work(http) for http in self.connections))

    async def create(self, http: Http, name: str, document: dict[str, Any]) -> None:
        """Create one pod."""
        document["metadata"]["name"] = name
        body = msgspec.json.encode(document)
        self.sent[name] = time.perf_counter()
        await http.ask("POST", self.path, body)

    def row(self, work: str, names: Sequence[str]) -> Row:
        """Return what was measured of these pods."""
        took = sorted((self.bound[name] - self.sent[name]) * 1e3 for name in names)
        span = max(self.bound[name] for name in names) - min(self.sent[name] for name in names)
        return Row(
            work, len(names), len(names) / span, took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]
        )


async def _with_space(access: Access, name: str, work: Callable[[Space], Awaitable[Row]]) -> Row:
    """Run some work in a namespace of its own, and take it away with all its pods."""
    connections = [await Http(access).open() for _ in range(CONNECTIONS)]
    first = connections[0]
    await first.ask("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": name}}).encode())
    space = Space(access, name, connections)
    watching = asyncio.create_task(space.watch())
    try:
        await asyncio.sleep(0.5)
        row = await work(space)
        await first.ask("DELETE", space.path, b'{"gracePeriodSeconds":0}')
        await space.until(lambda: len(space.gone) >= len(space.sent))
        return row
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        for http in connections:
            http.close()


async def run_workload(access: Access, workload: Workload, nodes: int, pods: int) -> Row:
    """Measure one workload."""

    async def work(space: Space) -> Row:
        if workload.before is not None:
            there = [f"before-{number}" for number in range(int(nodes * workload.before_a_node))]
            await space.send(there, workload.before)
            await space.until(lambda: len(space.bound) == len(there))
        names = [
            f"pod-{number}" for number in range(int(min(pods, nodes if workload.share < 1 else pods) * workload.share))
        ]
        deleting: asyncio.Queue[str] = asyncio.Queue()
        deleters: list[asyncio.Task[None]] = []
        if workload.churn:
            space.on_bound = deleting.put_nowait
            deleters = [asyncio.create_task(_delete(access, space, deleting)) for _ in range(CONNECTIONS // 4)]
        await space.send(names, workload.pod)
        await space.until(lambda: all(name in space.bound for name in names))
        for task in deleters:
            task.cancel()
        await asyncio.gather(*deleters, return_exceptions=True)
        return space.row(workload.name, names)

    return await _with_space(access, "bench-" + workload.name.replace(" ", "-").replace(",", ""), work)


async def _delete(access: Access, space: Space, names: asyncio.Queue[str]) -> None:
    http = await Http(access).open()
    try:
        while True:
            await http.ask("DELETE", f"{space.path}/{await names.get()}", b'{"gracePeriodSeconds":0}')
    finally:
        http.close()


async def run_arrivals(access: Access, rate: int) -> Row:
    """Measure pods that arrive evenly, whatever becomes of those before."""

    async def work(space: Space) -> Row:
        names = [f"pod-{number}" for number in range(rate * ARRIVAL_SECONDS)]
        free: asyncio.Queue[Http] = asyncio.Queue()
        for http in space.connections:
            free.put_nowait(http)

        async def one(name: str, due: float) -> None:
            http = await free.get()
            await space.create(http, name, pod(cpu="10m", memory="10Mi"))
            space.sent[name] = due  # what had to wait for a connection waited as well
            free.put_nowait(http)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number, name in enumerate(names):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(one(name, due))
        await space.until(lambda: all(name in space.bound for name in names))
        return space.row(f"{rate} pods/s arrive", names)

    return await _with_space(access, f"bench-arrivals-{rate}", work)


async def make_nodes(access: Access, count: int) -> None:
    """Create nodes that are ready and stay so, and keep pods off the cluster's own."""
    connections = [await Http(access).open() for _ in range(16)]
    own = json.loads(await connections[0].ask("GET", "/api/v1/nodes"))
    for node in own["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}"
        await connections[0].ask("PATCH", path, b'{"spec":{"unschedulable":true}}', "application/merge-patch+json")
    for name, value in (("bench-low", 1), ("bench-high", 10)):
        body = json.dumps({"metadata": {"name": name}, "value": value}).encode()
        await connections[0].ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
    numbers = list(range(count))
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = json.dumps({"status": {"capacity": amounts, "allocatable": amounts, "conditions": [condition]}}).encode()

    async def work(http: Http) -> None:
        while numbers:
            number = numbers.pop()
            name = f"bench-{number}"
            labels = {_HOST: name, _ZONE: f"zone-{number % ZONES}"}
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            await http.ask("POST", "/api/v1/nodes", json.dumps(body).encode())
            path = f"/api/v1/nodes/{name}/status"
            await http.ask("PATCH", path, status, "application/merge-patch+json")

    await asyncio.gather(*(work(http) for http in connections))
    for http in connections:
        http.close()


@contextmanager
def cluster() -> Generator[Access]:
    """Run a cluster whose controllers let nodes without agents be."""
    settings = {"ORCH_API_PROCESSES": "2", "ORCH_CONTROLLERS_NODE_GRACE_PERIOD": "86400"}
    environ = {**os.environ, **settings}
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        state = Path(folder) / "state"
        command = (
            ORCH,
            "up",
            "--state",
            state,
            "--port",
            "26443",
            "--nodes",
            "1",
            "--runtime",
            "simulated",
            "--detach",
        )
        subprocess.run(command, check=True, capture_output=True, env=environ, timeout=300)
        try:
            yield Access.of(state / "kubeconfig", Path(folder))
        finally:
            subprocess.run((ORCH, "down", "--state", state, "--purge"), check=True, capture_output=True, timeout=300)


def show(rows: Sequence[Row]) -> None:
    """Print a table."""
    print("| work | pods | bound a second | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|")
    for row in rows:
        print(f"| {row.work} | {row.pods:,} | {row.rate:,.0f} | {row.p50:,.0f} | {row.p99:,.0f} |", flush=True)


async def _measure(access: Access, nodes: int, pods: int, only: Sequence[str]) -> list[Row]:
    started = time.perf_counter()
    await make_nodes(access, nodes)
    await asyncio.sleep(3)
    print(f"{nodes:,} nodes were there after {time.perf_counter() - started:.0f} s", flush=True)
    rows = [
        await run_workload(access, workload, nodes, pods)
        for workload in WORKLOADS
        if not only or any(workload.name.startswith(each) for each in only)
    ]
    rows += [await run_arrivals(access, rate) for rate in ARRIVALS if not only or "arrivals" in only]
    return rows


def main(arguments: Sequence[str] = ()) -> None:
    """Measure on a cluster of its own and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--pods", type=int, default=1000, help="of each workload")
    parser.add_argument("--only", default="", help="workloads, by how their names begin, and arrivals")
    options = parser.parse_args(arguments)
    only = tuple(name for name in options.only.split(",") if name)
    with cluster() as access:
        show(uvloop.run(_measure(access, options.nodes, options.pods, only)))


if __name__ == "__main__":
    main(sys.argv[1:])
