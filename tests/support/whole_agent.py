"""A whole agent with real containers, between an in-memory bus and an api that the test plays.

What its pods leave behind is looked for when it ends: containers, namespaces, interfaces, addresses, mounts, control
groups and files.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from agent_cluster import Cluster, cancelled

from orch.bus import subjects
from orch.bus.streams import open_stream
from orch.clock import SystemClock
from orch.errors import NotFoundError
from orch_agent.agent import Place, serve
from orch_agent.config import AgentConfig, Intervals
from orch_agent.eviction.thresholds import EvictionSettings
from orch_agent.images.collection import ImageSettings
from orch_agent.network.addresses import AddressBook
from orch_agent.network.sandbox import NetnsSandboxes, NetworkSettings
from orch_agent.node import Machine, Node, NodeSettings
from orch_agent.pods.host import PodSettings
from orch_agent.pods.slot import BackOffTimes
from orch_agent.runtimes.cgroups import Hierarchy
from orch_agent.runtimes.protocol import Runtime
from orch_agent.volumes.kernel import unmount
from orch_pb.v1 import node_pb2, object_pb2, rpc_pb2

NAME = "node-1"
PIDS = 40
_USER = f"system:node:{NAME}"
_RANGE = "10.214.1.0/24"


class ClosableRuntime(Runtime, Protocol):
    """A runtime as an agent process has it."""

    async def close(self) -> None: ...


class RealNode(Protocol):
    """A network namespace with a service that runs containers (PodmanNode, ContainerdNode)."""

    namespace: str
    folder: Path


class WholeAgent(Cluster):
    """The api of a cluster whose one node's agent runs pods by `make`, a runtime for each agent process."""

    def __init__(self, node: RealNode, state: Path, scheme: str, make: Callable[[str, str], ClosableRuntime]) -> None:
        super().__init__()
        self.state = state
        self.parent = f"/orch-whole-{os.getpid()}"
        self.objects: dict[str, dict[str, Any]] = {}
        self.runtime: ClosableRuntime = make(NAME, self.parent)
        self._make = make
        self._scheme = scheme
        self._node = node
        network = NetworkSettings(network_namespace=node.namespace, pod_namespace_prefix=f"{node.namespace}-whole-")
        self.sandboxes = NetnsSandboxes(network, AddressBook(_RANGE, state / "addresses.json"))
        self.config = AgentConfig(
            node_name=NAME,
            node_ip="10.214.1.1",
            pod_cidr=_RANGE,
            state_dir=str(state),
            network=network,
            pods=PodSettings(pids_limit=PIDS, back_off=BackOffTimes(restart_first=0.2, pull_first=0.2)),
            # The machine under the tests may be short of anything.
            eviction=EvictionSettings(hard=("memory.available<0",)),
            images=ImageSettings(high_threshold=100, low_threshold=100),
            intervals=Intervals(heartbeat=0.2),
            events=False,
        )

    async def answer(self, user: str, request: rpc_pb2.GetRequest) -> rpc_pb2.WriteReply:
        """Return Secrets and ConfigMaps that the test has made, and pods that are assigned."""
        assert user == _USER
        if found := self.objects.get(request.ref.name):
            return rpc_pb2.WriteReply(json=msgspec.json.encode(found))
        return rpc_pb2.WriteReply(status=NotFoundError.of(request.ref.resource, "", request.ref.name).encode())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run an agent process; its containers outlive it."""
        await self.mark_services()
        clock, bus = SystemClock(), self.broker.connect(_USER)
        await self.sandboxes.prepare()
        settings = NodeSettings(name=NAME, address=self.config.node_ip, pod_cidr=_RANGE, state_dir=str(self.state))
        machine = Machine.here(str(self.state), f"{self._scheme}://1")
        place = Place(
            node=Node(settings, machine, self.runtime),
            runtime=self.runtime,
            sandboxes=self.sandboxes,
            scheme=self._scheme,
            files=self.state / "pods",
            groups=Hierarchy(),
            parent=self.parent,
            namespaces=self.state / "namespaces" if self._scheme == "podman" else None,
        )
        async with cancelled(serve(self.config, bus, clock, [place])):
            await self.mark(NAME)
            yield
        await bus.close()
        await self.runtime.close()
        self.runtime = self._make(NAME, self.parent)

    # -- pods ----------------------------------------------------------------------------------------------------

    def secret(self, name: str, **data: str) -> None:
        """Make a Secret."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        meta = {"name": name, "namespace": "default", "resourceVersion": "1", "uid": f"uid-{name}"}
        self.objects[name] = {"metadata": meta, "data": encoded}

    async def run_pod(self, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Assign a pod to the node; return it."""
        spec = {"nodeName": NAME, "terminationGracePeriodSeconds": 5, "containers": list(containers), **spec}
        made = {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}, "spec": spec}
        self.objects[name] = made
        await self.assign(made)
        return made

    async def delete_pod(self, made: dict[str, Any], grace: int = 5) -> None:
        """Delete a pod gracefully: it goes when its node has said that it has ended."""
        name = made["metadata"]["name"]
        moment = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
        going = {**made, "metadata": {**made["metadata"], **moment}}
        self.objects[name] = going
        await self.assign(going, object_pb2.ChangeType.MODIFIED)
        await self.until(lambda: self.pods[name].terminated, f"{name} has ended")
        del self.objects[name]
        await self.assign(going, object_pb2.ChangeType.DELETED)

    def container(self, pod: str, index: int = 0) -> dict[str, Any]:
        """Return one container's status, {} while there is none."""
        statuses = self.status(pod).get("containerStatuses", ())
        return statuses[index] if index < len(statuses) else {}

    def is_ready(self, pod: str) -> bool:
        """Whether a pod has said that it is ready."""
        conditions = {each["type"]: each["status"] for each in self.status(pod).get("conditions", ())}
        return conditions.get("Ready") == "True"

    async def ready(self, *pods: str) -> None:
        """Wait until pods are ready."""
        for pod in pods:
            await self.until(lambda pod=pod: self.is_ready(pod), f"{pod} is ready")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what the node tells, which has no one event."""
        try:
            async with asyncio.timeout(60):
                while not condition():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            states = {name: msgspec.json.decode(report.status) for name, report in self.pods.items()}
            raise AssertionError(f"not so: {what}; {states}") from None

    async def exec(self, pod: str, *command: str, container: str = "main") -> str:
        """Run a command in a container; return what it wrote."""
        request = node_pb2.ExecRequest(
            namespace="default", pod=pod, uid=f"uid-{pod}", container=container, command=command, stdout=True
        )
        subject = subjects.node_rpc_subject(NAME, "exec")
        async with await open_stream(self.bus, subject, request.SerializeToString()) as stream:
            return b"".join([data async for channel, data in stream if channel == 1 and data]).decode()

    async def feed(self, pod: str, data: bytes, *command: str) -> tuple[bytes, bytes, dict[str, Any]]:
        """Run a command with input; return what it wrote on both outputs, and how it ended."""
        request = node_pb2.ExecRequest(
            namespace="default", pod=pod, uid=f"uid-{pod}", command=command, stdin=True, stdout=True, stderr=True
        )
        heard: dict[int, list[bytes]] = {1: [], 2: [], 3: []}

        async def send() -> None:
            await stream.send(0, data)
            await stream.end(0)

        subject = subjects.node_rpc_subject(NAME, "exec")
        async with await open_stream(self.bus, subject, request.SerializeToString()) as stream, cancelled(send()):
            async for channel, part in stream:
                heard[channel].append(part or b"")
        return b"".join(heard[1]), b"".join(heard[2]), msgspec.json.decode(b"".join(heard[3]))

    # -- what is left --------------------------------------------------------------------------------------------

    async def left(self) -> list[str]:
        """Return what there is of pods on the node."""
        containers = [f"container {each.identity.container}" for each in await self.runtime.containers()]
        addresses = [f"address of {uid}" for uid in await self.sandboxes.owners()]
        return [*containers, *addresses, *self._left_of_kernel(), *self._left_of_files()]

    def _left_of_kernel(self) -> list[str]:
        prefix, folder = f"{self._node.namespace}-whole-", str(self.state)
        mounted = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        hierarchy = Hierarchy()
        levels = (self.parent, f"{self.parent}/burstable", f"{self.parent}/besteffort")
        groups = [f"{level}/{each}" for level in levels for each in hierarchy.children(level) if each.startswith("pod")]
        return [
            *(f"control group {each}" for each in groups),
            *(f"mount {each}" for each in mounted if each.startswith(folder) and each != f"{folder}/volumes/memory"),
            *(str(each) for each in Path("/run/netns").glob(f"{prefix}*")),
        ]

    def _left_of_files(self) -> list[str]:
        return [str(each) for part in ("pods/*", "namespaces/*", "volumes/*/*") for each in self.state.glob(part)]

    async def nothing_is_left(self) -> None:
        """Fail unless nothing of pods is left, at the latest when what ends has ended."""
        found = [""]
        for _ in range(500):
            found = await self.left()
            if not found:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"left on the node: {found}")

    async def clear(self) -> None:
        """Remove all that there is, also what a test that failed has left."""
        for each in await self.runtime.containers():
            await self.runtime.remove(each.id)
        await self.runtime.close()
        for uid in await self.sandboxes.owners():
            await self.sandboxes.remove(uid)
        Hierarchy().remove(self.parent)
        mounted = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]  # noqa: ASYNC240
        for each in reversed([each for each in mounted if each.startswith(str(self.state))]):
            unmount(Path(each))
