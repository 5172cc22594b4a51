"""What one node does with real containers: how fast pods start, what a hundred of them cost, when an end is seen.

Times are those of a client that watches pods over HTTPS, as kubectl does.

    python -m benchmarks.agent [--starts 60] [--pods 100]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.cluster import ORCH, ROOT, memory
from benchmarks.https import Access
from benchmarks.scheduling import Http
from benchmarks.workloads import seconds_used

IN_FLIGHT: Final = 4
ENDS: Final = 20
PATIENCE: Final = 300.0
SETTLED: Final = 20.0
IDLE_SECONDS: Final = 20.0
MIRROR: Final = ROOT / ".orch-images/registry"
_PODS: Final = "/api/v1/namespaces/default/pods"
_IMAGE: Final = "docker.io/library/busybox:latest"


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    container_id: str = msgspec.field(default="", name="containerID")


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    container_statuses: tuple[_Container, ...] = ()


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Pod


class Watch:
    """When each pod was first seen in each state, by the clock of this process."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._changed = asyncio.Event()
        self.seen: dict[tuple[str, str], float] = {}
        self.pods: dict[str, _Pod] = {}

    async def run(self) -> None:
        """Follow the pods until cancelled."""
        decoder = msgspec.json.Decoder(_Event)
        http = await Http(self._access).open()
        try:
            async for line in http.lines(f"{_PODS}?watch=true&allowWatchBookmarks=false"):
                now, event = time.perf_counter(), decoder.decode(line)
                pod, name = event.object, event.object.metadata.name
                if event.type == "DELETED":
                    self.pods.pop(name, None)
                else:
                    self.pods[name] = pod
                    self.seen.setdefault((name, pod.status.phase), now)
                    if pod.spec.node_name:
                        self.seen.setdefault((name, "scheduled"), now)
                self._changed.set()
        finally:
            http.close()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what the watch shows. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()


class Node:
    """A cluster of one node, by a watch and by connections on which pods are made."""

    def __init__(self, access: Access, state: Path) -> None:
        self._access = access
        self._state = state
        self.watch = Watch(access)

    async def make(self, http: Http, name: str) -> None:
        """Make a pod that does nothing until it is ended."""
        container = {"name": "main", "image": _IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "86400"]}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
        await http.ask("POST", _PODS, json.dumps({"metadata": {"name": name}, "spec": spec}).encode())

    async def remove_all(self, http: Http) -> None:
        """Delete all pods, and wait until they are gone."""
        await http.ask("DELETE", _PODS)
        await self.watch.until(lambda: not self.watch.pods)

    async def starts(self, count: int) -> list[float]:
        """Return the seconds from scheduled to Running of pods of which four are on their way at any time."""
        names = [f"start-{number}" for number in range(count)]
        waiting = list(reversed(names))

        async def work() -> None:
            http = await Http(self._access).open()
            while waiting:
                name = waiting.pop()
                await self.make(http, name)
                await self.watch.until(lambda name=name: (name, "Running") in self.watch.seen)
            http.close()

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return [self.watch.seen[name, "Running"] - self.watch.seen[name, "scheduled"] for name in names]

    async def fill(self, count: int) -> float:
        """Return the seconds until many pods, made at once, run."""
        connections = [await Http(self._access).open() for _ in range(IN_FLIGHT)]
        waiting = [f"full-{number}" for number in range(count)]
        begun = time.perf_counter()

        async def work(http: Http) -> None:
            while waiting:
                await self.make(http, waiting.pop())

        await asyncio.gather(*map(work, connections))
        await self.watch.until(lambda: sum(pod.status.phase == "Running" for pod in self.watch.pods.values()) == count)
        for http in connections:
            http.close()
        return time.perf_counter() - begun

    async def ends(self, count: int) -> list[float]:
        """Return the seconds from the end of containers, one after the other, until it is seen."""
        found: list[float] = []
        for name in sorted(self.watch.pods)[:count]:
            process = _process_of(self.watch.pods[name].status.container_statuses[0].container_id)
            begun = time.perf_counter()
            os.kill(process, signal.SIGKILL)
            await self.watch.until(lambda name=name: (name, "Failed") in self.watch.seen)
            found.append(self.watch.seen[name, "Failed"] - begun)
        return found

    async def cost(self) -> tuple[float, float]:
        """Return the share of a core, and the MB, that the agent takes while nothing happens."""
        await asyncio.sleep(SETTLED)
        before = seconds_used(self._state)["orch-agent"]
        await asyncio.sleep(IDLE_SECONDS)
        used = seconds_used(self._state)["orch-agent"] - before
        return used / IDLE_SECONDS, memory(self._state)["orch-agent"]


def _process_of(container: str) -> int:
    """Return the process of a container, which runs one. Raises LookupError."""
    identity = container.rpartition("/")[2]
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"libpod-{identity}" in (entry / "cgroup").read_text() and (entry / "comm").read_text() == "sleep\n":
                return int(entry.name)
    raise LookupError(f"no process of container {identity}")


def quantile(seconds: list[float], share: float) -> float:
    """Return what so large a share of the values does not exceed, in milliseconds."""
    return sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)] * 1000


@contextmanager
def cluster() -> Generator[tuple[Access, Path]]:
    """Run a cluster of one node with Podman."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        state = Path(folder) / "state"
        mirror = ("--mirror", MIRROR) if MIRROR.exists() else ()
        command = (ORCH, "up", "--state", state, "--port", "26443", "--nodes", "1", "--runtime", "podman", *mirror)
        subprocess.run((*command, "--detach"), check=True, capture_output=True, timeout=PATIENCE)
        try:
            yield Access.of(state / "kubeconfig", Path(folder)), state
        finally:
            subprocess.run((ORCH, "down", "--state", state, "--purge"), check=True, capture_output=True, timeout=300)


async def _measure(access: Access, state: Path, starts: int, pods: int) -> None:
    node = Node(access, state)
    watching = asyncio.create_task(node.watch.run())
    http = await Http(access).open()
    await node.starts(IN_FLIGHT)  # the first pulls the image
    await node.remove_all(http)
    node.watch.seen.clear()
    took = await node.starts(starts)
    print(f"| start of a pod, scheduled to Running, {IN_FLIGHT} in flight: p50 | {quantile(took, 0.5):,.0f} ms |")
    print(f"| … p99 | {quantile(took, 0.99):,.0f} ms |", flush=True)
    await node.remove_all(http)
    print(f"| {pods} pods on one node, all Running | {await node.fill(pods):.1f} s |", flush=True)
    share, size = await node.cost()
    print(f"| the agent with {pods} running pods | {share:.1%} of a core, {size:.0f} MB |", flush=True)
    seen = await node.ends(ENDS)
    print(f"| a container's end, seen by a watch: p50 | {quantile(seen, 0.5):,.0f} ms |")
    print(f"| … p99 | {quantile(seen, 0.99):,.0f} ms |", flush=True)
    http.close()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def measure(starts: int = 60, pods: int = 100) -> None:
    """Print what a node of one's own shows."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        print("left out: containers need root and Podman")
        return
    with cluster() as (access, state):
        print("| work | figure |\n|---|---:|")
        uvloop.run(_measure(access, state, starts, pods))


def main() -> int:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(prog="benchmarks.agent", description="What one node does with real containers.")
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--pods", type=int, default=100)
    options = parser.parse_args()
    measure(options.starts, options.pods)
    return 0


if __name__ == "__main__":
    sys.exit(main())
