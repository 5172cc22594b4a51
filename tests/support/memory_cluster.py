"""A cluster in memory: the api, the controllers, and a scheduler and agents that do as little as can be observed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orch.bus import subjects
from orch.clock import ManualClock, rfc3339
from orch.errors import ConflictError, NotFoundError, OrchError
from orch.objects.apps import Deployment, ReplicaSet
from orch.objects.meta import Object
from orch.objects.pods import Pod
from orch.objects.scheme import DEPLOYMENTS, EVENTS, NODES, PODS, REPLICA_SETS, Kind
from orch.runtime.informer import Change, Informer, Informers
from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_controllers.config import ControllersConfig
from orch_controllers.process import Process
from orch_pb.v1 import node_pb2, rpc_pb2

CONTROLLERS = "system:kube-controller-manager"
STEP = 0.1
_STEPS_A_MILLISECOND = 5
"""The api has waits by real time, too: it must not stand still altogether."""


class Event(Object, frozen=True):
    """An event, as people read it."""

    reason: str = ""
    message: str = ""
    type: str = ""
    involved_object: dict[str, Any] = {}
    source: dict[str, str] = {}


class Cluster:
    """Nodes run what is bound to them at once, unless a test says otherwise. Time passes only while a test waits."""

    def __init__(self, api: InMemoryApi, clock: ManualClock) -> None:
        self.api = api
        self.clock = clock
        self.client = api.client()
        self.tasks: list[asyncio.Task[None]] = []
        self.informers = Informers(api.bus("orch:admin"))
        self.pods: Informer[Pod] = self.informers.of(PODS)
        self.sets: Informer[ReplicaSet] = self.informers.of(REPLICA_SETS)
        self.deployments: Informer[Deployment] = self.informers.of(DEPLOYMENTS)
        self.silent: set[str] = set()
        self.nodes: list[str] = []
        self.lease_seconds = 20.0
        self.becomes_ready: Callable[[Pod], bool] = lambda _: True
        self.stops: Callable[[Pod], bool] = lambda _: True
        self.processes: list[tuple[Process, asyncio.Task[None]]] = []
        self._addresses: dict[str, int] = {}
        self._turn = 0
        self._steps = 0

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until the cluster stops."""
        task = asyncio.create_task(work)
        self.tasks.append(task)
        return task

    async def stop(self) -> None:
        """End everything; what ended before, and by mistake, is raised."""
        for task in self.tasks:
            task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def start(self, nodes: int) -> None:
        self.spawn(self.informers.run())
        await self.informers.wait_synced(20)
        for number in range(nodes):
            await self.add_node(f"node-{number}")
        self.spawn(self._run_pods())
        self.spawn(self._beat())
        await self.controllers("first")

    async def controllers(self, identity: str, **settings: Any) -> Process:
        """Start a process of the controllers."""
        config = ControllersConfig(**settings)
        process = Process(self.api.broker.connect(CONTROLLERS), self.api.store, config, self.clock, identity)
        self.processes.append((process, self.spawn(process.run())))
        return process

    async def add_node(self, name: str, labels: dict[str, str] | None = None) -> None:
        now = rfc3339(self.clock.now())
        conditions = [
            {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "posting"},
        ]
        dated = [{**each, "lastHeartbeatTime": now, "lastTransitionTime": now} for each in conditions]
        body = {
            "metadata": {"name": name, "labels": labels or {}},
            "status": {"capacity": {"cpu": "8", "memory": "8Gi", "pods": "110"}, "conditions": dated},
        }
        await self.client.create(NODES, "", body)
        self.nodes.append(name)

    async def eventually(self, condition: Callable[[], Any], seconds: float = 600) -> None:
        """Let time pass until the condition holds, at most 60 seconds of real time."""
        until = self.clock.monotonic() + seconds
        try:
            async with asyncio.timeout(60):
                while True:
                    found = condition()
                    if isinstance(found, Awaitable):
                        found = await found
                    if found:
                        return
                    assert self.clock.monotonic() < until, f"it did not come to this within {seconds} s"
                    await self.pass_time(STEP)
        except TimeoutError:
            pytest.fail("it did not come to this in time")

    async def pass_time(self, seconds: float) -> None:
        """Move the clock in small steps, so that all that is due happens in between."""
        for _ in range(round(seconds / STEP)):
            await self.clock.advance(STEP)
            self._steps += 1
            await asyncio.sleep(0.001 if self._steps % _STEPS_A_MILLISECOND == 0 else 0)

    async def settled(self, seconds: float = 2) -> None:
        """Let time pass in which something that must not happen would have happened."""
        await self.pass_time(seconds)

    # -- what users do -------------------------------------------------------------------------------------------

    async def deploy(self, name: str = "web", replicas: int = 3, image: str = "nginx:1", **spec: Any) -> Deployment:
        return await self.client.create(DEPLOYMENTS, "default", deployment(name, replicas, image, **spec))

    async def change(self, name: str = "web", **spec: Any) -> Deployment:
        return await self.client.patch(DEPLOYMENTS, "default", name, {"spec": spec})

    async def set_image(self, image: str, name: str = "web") -> Deployment:
        return await self.change(name, template=template(name, image))

    # -- what is there -------------------------------------------------------------------------------------------

    def deployment(self, name: str = "web") -> Deployment | None:
        item = self.deployments.get("default", name)
        return item.object if item is not None else None

    def active(self, image: str = "", namespace: str = "default") -> list[Pod]:
        """Return the pods that are not on their way out."""
        pods = (item.object for item in self.pods.items(namespace))
        return [
            pod
            for pod in pods
            if not pod.metadata.deletion_timestamp
            and pod.status.phase not in {"Succeeded", "Failed"}
            and (not image or pod.spec.containers[0].image == image)
        ]

    def ready(self, image: str = "") -> list[Pod]:
        return [pod for pod in self.active(image) if is_ready(pod)]

    def replica_sets(self) -> dict[str, ReplicaSet]:
        """Return the replica sets by image."""
        found: dict[str, ReplicaSet] = {}
        for item in self.sets.items("default"):
            for image in ("nginx:1", "nginx:2", "nginx:3", "nginx:4"):
                if f'"image":"{image}"'.encode() in bytes(item.object.spec.template.spec).replace(b" ", b""):
                    found[image] = item.object
        return found

    def is_rolled_out(self, image: str = "nginx:1", name: str = "web") -> bool:
        """Return whether `kubectl rollout status` would say so."""
        found = self.deployment(name)
        if found is None or found.spec.replicas is None:
            return False
        status, wanted = found.status, found.spec.replicas
        return (
            status.observed_generation >= found.metadata.generation
            and status.updated_replicas == wanted
            and status.replicas == wanted
            and status.available_replicas == wanted
            and len(self.ready(image)) == wanted
        )

    async def events(self, namespace: str = "default") -> list[Event]:
        kind: Kind[Any] = EVENTS.with_view(Event)
        return await self.client.list(kind, namespace)

    async def told(self, *reasons: str, namespace: str = "default") -> list[Event]:
        """Wait until there are events of these reasons, which are written after what they tell of; return all."""
        found: list[Event] = []

        async def there() -> bool:
            found[:] = await self.events(namespace)
            return set(reasons) <= {each.reason for each in found}

        await self.eventually(there)
        return found

    async def exists(self, kind: Kind[Any], namespace: str, name: str) -> bool:
        try:
            await self.client.get(kind, namespace, name)
        except NotFoundError:
            return False
        return True

    # -- scheduler and agents ------------------------------------------------------------------------------------

    async def _run_pods(self) -> None:
        changed: asyncio.Queue[Change[Pod]] = asyncio.Queue()
        self.pods.on_change(changed.put_nowait)
        while True:
            change = await changed.get()
            if change.new is not None:
                try:
                    await self.treat(change.new.object)
                except (NotFoundError, ConflictError):
                    continue

    async def treat(self, pod: Pod) -> None:
        """Do with a pod what the scheduler or its agent would do now."""
        meta = pod.metadata
        if not pod.spec.node_name:
            await self._bind(pod)
        elif pod.spec.node_name in self.silent or pod.spec.node_name not in self.nodes:
            return
        elif meta.deletion_timestamp:
            if self.stops(pod):
                await self.client.delete(PODS, meta.namespace, meta.name, uid=meta.uid, grace_period=0)
        elif pod.status.phase in {"Succeeded", "Failed"}:
            return
        elif pod.status.phase == "Pending" or (not is_ready(pod) and self.becomes_ready(pod)):
            await self.report(pod, ready=self.becomes_ready(pod))

    async def treat_all(self) -> None:
        """Do that with every pod, after a test has changed what agents do."""
        for item in self.pods.items():
            try:
                await self.treat(item.object)
            except (NotFoundError, ConflictError):
                continue

    async def report(self, pod: Pod, *, ready: bool, phase: str = "Running") -> None:
        """Write a pod's status as its agent would."""
        now, status = rfc3339(self.clock.now()), "True" if ready else "False"
        reason = {} if ready else {"reason": "ContainersNotReady"}
        conditions = [
            {"type": kind, "status": status, "lastTransitionTime": now, **reason}
            for kind in ("Ready", "ContainersReady")
        ]
        patch = {
            "metadata": {"uid": pod.metadata.uid},
            "status": {"phase": phase, "startTime": now, "conditions": conditions, **self._address(pod)},
        }
        meta = pod.metadata
        await self.client.patch(PODS, meta.namespace, meta.name, patch, subresource="status", strategic=True)

    def _address(self, pod: Pod) -> dict[str, Any]:
        """Return the pod's address, always the same one."""
        number = self._addresses.setdefault(pod.metadata.uid, len(self._addresses) + 1)
        address = f"10.244.{number >> 8}.{number & 255}"
        return {"podIP": address, "podIPs": [{"ip": address}]}

    async def _bind(self, pod: Pod) -> None:
        nodes = [name for name in self.nodes if name not in self.silent]
        if not nodes:
            return
        self._turn += 1
        meta = pod.metadata
        binding = rpc_pb2.Binding(
            namespace=meta.namespace, name=meta.name, uid=meta.uid, node=nodes[self._turn % len(nodes)]
        )
        await self.client.bind([binding])

    async def _beat(self) -> None:
        buses = {}
        while True:
            beat = node_pb2.Heartbeat(lease_seconds=self.lease_seconds).SerializeToString()
            for name in self.nodes:
                if name in self.silent:
                    continue
                bus = buses.get(name) or buses.setdefault(name, self.api.broker.connect(f"system:node:{name}"))
                try:
                    await bus.publish(subjects.heartbeat_subject(name), beat)
                except OrchError:
                    break
            await self.clock.sleep(1)


def template(name: str, image: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": image}], "terminationGracePeriodSeconds": 5},
    }


def deployment(name: str = "web", replicas: int = 3, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, image),
            **spec,
        },
    }


def is_ready(pod: Pod) -> bool:
    ready = pod.status.condition("Ready")
    return ready is not None and ready.status == "True"


class Watcher:
    """Notes, after every event about a pod, the most pods that lived and the fewest that served."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.most = len(cluster.active())
        self.fewest = len(cluster.ready())
        self.names: set[str] = set()
        self._stop = cluster.pods.on_change(self._look)

    def _look(self, change: Change[Pod]) -> None:
        self.names.add(change.item.name)
        self.most = max(self.most, len(self._cluster.active()))
        self.fewest = min(self.fewest, len(self._cluster.ready()))

    def stop(self) -> None:
        self._stop()


@asynccontextmanager
async def running_cluster(clock: ManualClock, nodes: int = 2) -> AsyncIterator[Cluster]:
    """Run a cluster until the context ends; its controllers lead."""
    config = ApiConfig(enable_admission_plugins=("StorageObjectInUseProtection",))
    async with in_memory_api(clock, config=config) as api:
        cluster = Cluster(api, clock)
        try:
            await cluster.start(nodes)
            await cluster.eventually(lambda: cluster.processes[0][0].acting)
            yield cluster
        finally:
            await cluster.stop()
