"""An agent that dies between any two of its steps, over a node and an api that outlive it.

A step is whatever has an effect beyond the process: a call of the runtime, a change of the kernel's network, work with
files, a report to the api. An agent that has died does nothing any more, not even while its tasks are cleared away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
from at_once import AtOnce
from volume_node import Api, WrittenMounts

from orch.clock import ManualClock, rfc3339
from orch.objects.pods import Pod
from orch.runtime.informer import Change, Item
from orch_agent.network.addresses import AddressBook
from orch_agent.network.sandbox import Sandbox
from orch_agent.pods.assignments import Assignments
from orch_agent.pods.host import PodHost
from orch_agent.runtimes.protocol import State
from orch_agent.runtimes.simulated import SimulatedRuntime
from orch_agent.volumes.upkeep import volumes_of

NODE = "node-1"
_STARTS_AND_ENDS = frozenset({"terminate", "kill", "remove"})


class Inline(AtOnce):
    """Does at once, and as a step, what is meant for a thread: so the order of steps is the same each time."""

    def __init__(self, world: World) -> None:
        super().__init__(max_workers=1)
        self._world = world

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._world.step("files"):
            return super().submit(fn, *args, **kwargs)
        dead: Future[Any] = Future()
        dead.cancel()
        return dead


class World:
    """What outlives the agent: the pod in the api, containers, the network, files; and what is known of all lives."""

    def __init__(self, folder: Path, document: dict[str, Any], *, dies_at: int = 0) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.api = _PodApi(self)
        self.kernel = WrittenMounts()
        self.namespaces: set[str] = set()
        self.runtime = SimulatedRuntime(self.clock)
        self.document: dict[str, Any] | None = document
        self.deleted = False
        self.started: list[tuple[str, int]] = []
        self.complaints: list[str] = []
        self.steps: list[str] = []
        self.dies_at = dies_at
        self.alive = False
        self.deaths = 0
        self._restarts: dict[str, int] = {}
        self._life: _Life | None = None

    # -- the agent -----------------------------------------------------------------------------------------------

    def step(self, what: str) -> bool:
        """Count a step that is about to be taken; False if the agent is dead, or dies before it."""
        if self.alive:
            self.steps.append(what)
            if len(self.steps) == self.dies_at:
                self.alive = False
                self.deaths += 1
        return self.alive

    async def live(self, seconds: int, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass. When the agent has died, the next one begins a second later."""
        for _ in range(seconds):
            if not self.alive:
                await self.bury()
                self.alive, self._life = True, _Life(self)
            await self.clock.advance(0)
            await self.clock.advance(1)
            if until():
                return

    async def bury(self) -> None:
        """Clear away the tasks of an agent, which is dead at the latest from now on."""
        self.alive = False
        if self._life is not None:
            life, self._life = self._life, None
            await life.end()

    async def watch(self) -> None:
        """Pass on changes of containers for ever."""
        await self.runtime.run(lambda uid: self._life.assignments.wake(uid) if self._life and self.alive else None)

    # -- the pod in the api --------------------------------------------------------------------------------------

    def delete(self, grace: int) -> None:
        """Delete the pod gracefully."""
        assert self.document is not None
        meta = {"deletionTimestamp": rfc3339(self.clock.now()), "deletionGracePeriodSeconds": grace}
        self._replace({**self.document, "metadata": {**self.document["metadata"], **meta}})
        self.deleted = True

    def forget(self) -> None:
        """Delete the pod by force: nobody is asked."""
        self.deleted = True
        self._replace(None)

    def _replace(self, document: dict[str, Any] | None) -> None:
        old, self.document = self.document, document
        if self._life is not None:
            self._life.pods.tell(Change(self._item(old), self._item(document)))

    def item(self) -> Item[Pod] | None:
        return self._item(self.document)

    @staticmethod
    def _item(document: dict[str, Any] | None) -> Item[Pod] | None:
        if document is None:
            return None
        pod = msgspec.convert(document, Pod)
        return Item(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid, 1, {}, None, b"", pod)

    # -- what is told --------------------------------------------------------------------------------------------

    def report(self, node: str, pod: Pod, status: bytes, *, terminated: bool, trace: Any) -> None:
        """Take a report as the api does: at once, unless the agent dies before it is sent."""
        del node, trace
        if not self.step("report") or self.document is None or pod.metadata.uid != self.document["metadata"]["uid"]:
            return
        told = msgspec.json.decode(status)
        for each in told.get("containerStatuses", ()):
            before = self._restarts.get(each["name"], 0)
            if each["restartCount"] < before:
                self.complaints.append(f"{each['name']} was restarted {before} times, now {each['restartCount']}")
            self._restarts[each["name"]] = each["restartCount"]
        if terminated and self.deleted:
            asyncio.get_running_loop().call_soon(self._replace, None)
        else:
            self.document = {**self.document, "status": told}

    def event(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None:
        """Events may get lost, and come twice."""

    # -- what is there -------------------------------------------------------------------------------------------

    def container(self, name: str) -> dict[str, Any]:
        """Return a container's status as the api has it."""
        status = (self.document or {}).get("status", {})
        return next((each for each in status.get("containerStatuses", ()) if each["name"] == name), {})

    async def left(self) -> list[str]:
        """Return what there is of pods on the node."""
        found = [f"container {info.identity.container}" for info in await self.runtime.containers()]
        found += [f"network namespace {name}" for name in self.namespaces]
        found += [f"mount {target}" for what, target in self.kernel.made if target != self.folder / "volumes/memory"]
        for folder in ("pods", "volumes/disk", "volumes/memory"):
            found += [str(path) for path in (self.folder / folder).glob("*")]
        found += AddressBook("10.1.0.0/24", self.folder / "addresses.json").owners()
        return found


class _PodApi(Api):
    """Objects, and the pod."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self._world = world
        self.secret("key", key="opens")
        self.config_map("settings", color="blue")

    async def get(self, kind: Any, namespace: str, name: str) -> Any:
        item = self._world.item()
        if kind.resource == "pods" and item is not None and item.name == name:
            return item.object
        return await super().get(kind, namespace, name)


class _Life:
    """One agent process."""

    def __init__(self, world: World) -> None:
        self.pods = _Pods(world)
        folder = world.folder
        host = PodHost(
            node=NODE,
            host_ip="192.0.2.1",
            allocatable={"cpu": "4", "memory": "8Gi"},
            memory_capacity=8 << 30,
            runtime=_Runtime(world),  # type: ignore[arg-type]
            scheme="simulated",
            sandboxes=_Network(world),  # type: ignore[arg-type]
            files=folder / "pods",
            reader=world.api,  # type: ignore[arg-type]
            outlet=world,
            clock=world.clock,
        )
        host.volumes = volumes_of(host, folder / "volumes", world.api, world.kernel)
        self.assignments = Assignments(self.pods, {NODE: host})  # type: ignore[arg-type]
        self._task = asyncio.create_task(self.assignments.run())

    async def end(self) -> None:
        self._task.cancel()
        for outcome in await asyncio.gather(self._task, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


class _Pods:
    """The assignments that an agent sees, as an informer has them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: Callable[[Change[Pod]], None] = lambda _: None
        self._synced = asyncio.Event()

    def on_change(self, handler: Callable[[Change[Pod]], None]) -> Callable[[], None]:
        self._told = handler
        return lambda: None

    async def run(self) -> None:
        if (item := self._world.item()) is not None:
            self._told(Change(None, item))
        self._synced.set()
        await asyncio.get_running_loop().create_future()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def tell(self, change: Change[Pod]) -> None:
        if self._synced.is_set() and self._world.alive:
            self._told(change)


class _Runtime:
    """The runtime, each call a step. What no agent may do, dead or alive, is noted."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            world = self._world
            if not world.step(f"runtime {name}"):
                raise asyncio.CancelledError
            if name == "start":
                await self._starts(*arguments)
            elif name in _STARTS_AND_ENDS:
                await self._ends(*arguments)
            return await getattr(world.runtime, name)(*arguments, **named)

        return call

    async def _starts(self, container: str) -> None:
        world, info = self._world, await self._world.runtime.inspect(container)
        assert info is not None
        mine = info.identity
        world.started.append((mine.container, mine.attempt))
        for other in await world.runtime.containers(mine.uid):
            if other.state is State.RUNNING and other.identity.container == mine.container:
                world.complaints.append(f"{mine.container} runs twice")

    async def _ends(self, container: str) -> None:
        world, info = self._world, await self._world.runtime.inspect(container)
        if info is not None and info.state is State.RUNNING and not world.deleted:
            world.complaints.append(f"{info.identity.container} is ended")


class _Network:
    """Network namespaces by name, addresses in a file."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._addresses = AddressBook("10.1.0.0/24", world.folder / "addresses.json")

    async def ensure(self, uid: str) -> tuple[Sandbox, bool]:
        address = await asyncio.to_thread(self._addresses.take, uid)
        self._step("network set up")
        made = uid not in self._world.namespaces
        self._world.namespaces.add(uid)
        return Sandbox(address), made

    async def remove(self, uid: str) -> None:
        self._step("network taken down")
        self._world.namespaces.discard(uid)
        await asyncio.to_thread(self._addresses.release, uid)

    async def owners(self) -> Sequence[str]:
        return self._addresses.owners()

    def _step(self, what: str) -> None:
        if not self._world.step(what):
            raise asyncio.CancelledError
