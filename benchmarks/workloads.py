"""What controllers do with many objects: from a request to the state that it asked for, and what a quiet cluster costs.

Nodes are simulated, each with its agent's behaviour, all in one process. What is measured is everything else.

    python -m benchmarks.workloads --nodes 1000 [--idle 50000] [--only deployment,jobs]
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
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from benchmarks.cluster import ORCH, memory
from benchmarks.https import Access
from benchmarks.scheduling import Http

CONNECTIONS: Final = 16
PATIENCE: Final = 900.0
SETTLED: Final = 15.0
IDLE_SECONDS: Final = 30.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_APPS: Final = "/apis/apps/v1/namespaces"
_MERGE: Final = "application/merge-patch+json"


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    generation: int = 0


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0
    succeeded: int = 0


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata
    status: _Status = _Status()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Object


class Row(msgspec.Struct, frozen=True):
    """One line of the table."""

    work: str
    seconds: float


class Watch:
    """What a watch has shown of each object."""

    def __init__(self, access: Access, path: str) -> None:
        self._access = access
        self._path = path
        self._changed = asyncio.Event()
        self.objects: dict[str, _Object] = {}

    async def run(self) -> None:
        """Follow the objects until cancelled."""
        decoder = msgspec.json.Decoder(_Event)
        http = await Http(self._access).open()
        try:
            async for line in http.lines(f"{self._path}?watch=true&allowWatchBookmarks=false"):
                event = decoder.decode(line)
                if event.type == "DELETED":
                    self.objects.pop(event.object.metadata.name, None)
                else:
                    self.objects[event.object.metadata.name] = event.object
                self._changed.set()
        finally:
            http.close()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what the watch shows. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    def running(self) -> int:
        """Return how many of the objects, pods, run."""
        return sum(each.status.phase == "Running" for each in self.objects.values())


def template(seconds: str = "") -> dict[str, Any]:
    """Return a template of pods with one container, which ends by itself after `seconds` if that is given."""
    resources = {"requests": {"cpu": "10m", "memory": "10Mi"}}
    container: dict[str, Any] = {"name": "main", "image": "registry.k8s.io/pause:3.10", "resources": resources}
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0}
    if seconds:
        container["env"] = [{"name": "SIMULATED_RUN_SECONDS", "value": seconds}]
        spec["restartPolicy"] = "Never"
    return {"metadata": {"labels": {"app": "bench"}}, "spec": spec}


def deployment(name: str, replicas: int) -> bytes:
    """Return a Deployment."""
    labels = {"app": "bench", "of": name}
    pods = template()
    pods["metadata"]["labels"] = labels
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pods}
    return json.dumps({"metadata": {"name": name}, "spec": spec}).encode()


class Cluster:
    """A cluster to work on: namespaces, objects, watches."""

    def __init__(self, access: Access) -> None:
        self.access = access

    async def open(self) -> Cluster:
        """Connect."""
        self.connections = [await Http(self.access).open() for _ in range(CONNECTIONS)]
        self.first = self.connections[0]
        return self

    async def namespace(self, name: str) -> None:
        """Make a namespace."""
        await self.first.ask("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": name}}).encode())

    async def create(self, path: str, bodies: Sequence[bytes]) -> None:
        """Create objects on all connections at once."""
        waiting = list(reversed(bodies))

        async def work(http: Http) -> None:
            while waiting:
                await http.ask("POST", path, waiting.pop())

        await asyncio.gather(*map(work, self.connections))

    async def gone(self, namespace: str) -> None:
        """Delete a namespace and wait until it is gone."""
        path = f"/api/v1/namespaces/{namespace}"
        await self.first.ask("DELETE", path)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.first.ask("GET", path)
                except RuntimeError:
                    return
                await asyncio.sleep(0.1)

    async def watching(self, path: str, work: Callable[[Watch], Awaitable[None]]) -> None:
        """Run some work with a watch of `path`."""
        watch = Watch(self.access, path)
        task = asyncio.create_task(watch.run())
        try:
            await asyncio.sleep(0.5)
            await work(watch)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def rollout(cluster: Cluster, replicas: int = 1000) -> list[Row]:
    """Measure a large Deployment: made, and given a new template."""
    await cluster.namespace("bench-rollout")
    rows: list[Row] = []

    async def make(watch: Watch) -> None:
        started = time.perf_counter()
        await cluster.first.ask("POST", f"{_APPS}/bench-rollout/deployments", deployment("large", replicas))
        await watch.until(lambda: watch.running() == replicas)
        rows.append(Row(f"a Deployment of {replicas:,} replicas, all Running", time.perf_counter() - started))

    async def change(watch: Watch) -> None:
        await watch.until(lambda: _complete(watch, replicas, 1))
        started = time.perf_counter()
        change = {"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}}
        path = f"{_APPS}/bench-rollout/deployments/large"
        await cluster.first.ask("PATCH", path, json.dumps(change).encode(), _MERGE)
        await watch.until(lambda: _complete(watch, replicas, 2))
        rows.append(Row("a rolling update of it", time.perf_counter() - started))

    await cluster.watching("/api/v1/namespaces/bench-rollout/pods", make)
    await cluster.watching(f"{_APPS}/bench-rollout/deployments", change)
    await cluster.gone("bench-rollout")
    return rows


def _complete(watch: Watch, replicas: int, generation: int) -> bool:
    found = watch.objects.get("large")
    if found is None or found.status.observed_generation < generation:
        return False
    status = found.status
    return status.updated_replicas == status.available_replicas == status.replicas == replicas


async def many(cluster: Cluster, count: int = 1000, replicas: int = 3) -> list[Row]:
    """Measure many small Deployments at once."""
    await cluster.namespace("bench-many")
    rows: list[Row] = []

    async def work(watch: Watch) -> None:
        started = time.perf_counter()
        bodies = [deployment(f"small-{number}", replicas) for number in range(count)]
        await cluster.create(f"{_APPS}/bench-many/deployments", bodies)
        await watch.until(lambda: watch.running() == count * replicas)
        rows.append(Row(f"{count:,} Deployments of {replicas}, all Running", time.perf_counter() - started))

    await cluster.watching("/api/v1/namespaces/bench-many/pods", work)
    await cluster.gone("bench-many")
    return rows


async def jobs(cluster: Cluster, count: int = 1000) -> list[Row]:
    """Measure many Jobs whose pod ends soon."""
    await cluster.namespace("bench-jobs")
    rows: list[Row] = []
    path = "/apis/batch/v1/namespaces/bench-jobs/jobs"
    spec = {"template": template("0.1")}
    bodies = [json.dumps({"metadata": {"name": f"job-{number}"}, "spec": spec}).encode() for number in range(count)]

    async def work(watch: Watch) -> None:
        started = time.perf_counter()
        await cluster.create(path, bodies)
        await watch.until(lambda: sum(each.status.succeeded for each in watch.objects.values()) == count)
        rows.append(Row(f"{count:,} Jobs, all complete", time.perf_counter() - started))

    await cluster.watching(path, work)
    await cluster.gone("bench-jobs")
    return rows


async def removal(cluster: Cluster, pods: int = 10_000) -> list[Row]:
    """Measure the deletion of a namespace full of pods."""
    await cluster.namespace("bench-removal")

    async def fill(watch: Watch) -> None:
        bodies = [deployment(f"part-{number}", pods // 10) for number in range(10)]
        await cluster.create(f"{_APPS}/bench-removal/deployments", bodies)
        await watch.until(lambda: watch.running() == pods)

    await cluster.watching("/api/v1/namespaces/bench-removal/pods", fill)
    await asyncio.sleep(SETTLED)
    started = time.perf_counter()
    await cluster.gone("bench-removal")
    return [Row(f"a namespace of {pods:,} pods deleted", time.perf_counter() - started)]


WORKLOADS: Final[dict[str, Callable[[Cluster], Awaitable[list[Row]]]]] = {
    "deployment": rollout,
    "many": many,
    "jobs": jobs,
    "removal": removal,
}


def seconds_used(state: Path) -> dict[str, float]:
    """Return the processor time that each process of a cluster has used so far, by its name."""
    used: dict[str, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if not any(str(state).encode() in argument for argument in arguments):
            continue
        words = [Path(argument.decode()).name for argument in arguments[:3] if argument]
        name = next((word for word in words if word.startswith(("orch", "etcd", "nats"))), words[0])
        used[name] = used.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
    return used


async def quiet(cluster: Cluster, state: Path, pods: int) -> None:
    """Print what the cluster costs when nothing happens and `pods` pods run."""
    await cluster.namespace("bench-idle")
    parts = max(1, pods // 1000)

    async def fill(watch: Watch) -> None:
        bodies = [deployment(f"part-{number}", pods // parts) for number in range(parts)]
        await cluster.create(f"{_APPS}/bench-idle/deployments", bodies)
        await watch.until(lambda: watch.running() == pods // parts * parts)

    await cluster.watching("/api/v1/namespaces/bench-idle/pods", fill)
    await asyncio.sleep(2 * SETTLED)
    before = seconds_used(state)
    await asyncio.sleep(IDLE_SECONDS)
    after = seconds_used(state)
    sizes = memory(state)
    print(f"\n{pods:,} pods, quiet for {IDLE_SECONDS:.0f} s:\n\n| process | cores | MB |\n|---|---:|---:|")
    for name in sorted(after):
        cores = (after[name] - before.get(name, 0.0)) / IDLE_SECONDS
        print(f"| {name} | {cores:.3f} | {sizes.get(name, 0):,.0f} |")
    whole = sum(after.values()) - sum(before.values())
    print(f"| together | {whole / IDLE_SECONDS:.3f} | {sum(sizes.values()):,.0f} |", flush=True)


@contextmanager
def fleet(nodes: int) -> Generator[tuple[Access, Path]]:
    """Run a cluster of simulated nodes."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        state = Path(folder) / "state"
        command = (ORCH, "up", "--state", state, "--port", "26443", "--nodes", str(nodes))
        subprocess.run(
            (*command, "--runtime", "simulated", "--detach"), check=True, capture_output=True, timeout=PATIENCE
        )
        try:
            yield Access.of(state / "kubeconfig", Path(folder)), state
        finally:
            subprocess.run((ORCH, "down", "--state", state, "--purge"), check=True, capture_output=True, timeout=300)


async def _measure(access: Access, state: Path, only: Sequence[str], idle: int) -> None:
    cluster = await Cluster(access).open()
    print("| work | seconds |\n|---|---:|")
    for name, work in WORKLOADS.items():
        if not only or name in only:
            for row in await work(cluster):
                print(f"| {row.work} | {row.seconds:.1f} |", flush=True)
    if idle:
        await quiet(cluster, state, idle)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(prog="benchmarks.workloads", description="What controllers do with many objects.")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=0, metavar="PODS")
    parser.add_argument("--only", default="", help=f"some of {', '.join(WORKLOADS)}, or none")
    options = parser.parse_args(arguments)
    with fleet(options.nodes) as (access, state):
        uvloop.run(_measure(access, state, [name for name in options.only.split(",") if name], options.idle))


if __name__ == "__main__":
    main(sys.argv[1:])
