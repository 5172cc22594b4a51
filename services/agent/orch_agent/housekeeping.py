"""Looks after one node while its pods run: measures it, ends pods before it is full, and removes images nobody uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from orch import quantity
from orch.clock import Clock
from orch.errors import OrchError
from orch.objects.pods import Pod
from orch_agent.eviction.evictor import Evictor, NodeEvents
from orch_agent.eviction.thresholds import EvictionSettings
from orch_agent.eviction.verdict import Eviction
from orch_agent.health import RuntimeHealth
from orch_agent.images.collection import ImageCollector, ImageSettings, InsufficientError, Room
from orch_agent.node import Node
from orch_agent.pods.host import PodHost
from orch_agent.pods.worker import PodWorker
from orch_agent.runtimes.simulated import SimulatedRuntime
from orch_agent.stats.meter import NodeMeter, Share

_LOG: Final = logging.getLogger(__name__)
_LIST_IMAGES: Final = 15.0
_NODES_PER_TURN: Final = 16


class Workers(Protocol):
    """The workers of a node's pods."""

    def workers_of(self, node: str) -> Sequence[PodWorker]:
        """Return those that have not ended."""
        ...

    def worker(self, uid: str) -> PodWorker | None:
        """Return the one of a pod."""
        ...


class HouseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is looked after. `folder` is on the disk of its pods, "" for a simulated one."""

    eviction: EvictionSettings = EvictionSettings()
    images: ImageSettings = ImageSettings()
    folder: str = ""


class NodePods:
    """The pods of one node, as an evictor sees them."""

    def __init__(self, node: str, workers: Workers) -> None:
        self._node = node
        self._workers = workers

    def active(self) -> Sequence[Pod]:
        """Return the pods that have not ended."""
        return [worker.pod for worker in self._workers.workers_of(self._node)]

    def uids(self) -> Sequence[str]:
        """Return the uids of the same."""
        return [worker.pod.metadata.uid for worker in self._workers.workers_of(self._node)]

    def evict(self, pod: Pod, eviction: Eviction) -> bool:
        """Have a pod ended; False if it has ended or is ending."""
        worker = self._workers.worker(pod.metadata.uid)
        return worker is not None and worker.evict(eviction)


class Housekeeping:
    """Of one node."""

    def __init__(
        self, node: Node, host: PodHost, workers: Workers, events: NodeEvents, clock: Clock, settings: HouseSettings
    ) -> None:
        self._name = node.settings.name
        self._events = events
        self._clock = clock
        self._settings = settings
        pods = NodePods(self._name, workers)
        self.meter = NodeMeter(
            host.runtime,
            host.groups,
            clock,
            share_of(node),
            folder=settings.folder,
            volumes=host.volumes.usage,
            pods=pods.uids,
        )
        self._collector = ImageCollector(host.runtime, settings.images, clock, host.volumes.images)
        room = Room(host.runtime, self._collector)
        self.evictor = Evictor(self._name, settings.eviction, self.meter, pods, room, events, clock)
        self._next_collection = clock.monotonic() + settings.images.interval
        self._failed_before = False
        host.allocations.pressure = self.evictor.refuses
        node.pressures = lambda: self.evictor.conditions
        node.images = self._collector.listed
        self._health: RuntimeHealth | None = None
        if settings.folder:
            node.meter = self.meter
            self._health = health = RuntimeHealth(host.runtime, clock)
            node.runtime_problem = lambda: health.problem

    async def run(self) -> None:
        """Look after the node for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.evictor.run(), name="evictions")
            tasks.create_task(self._look_after_images(), name="images")
            if self._health is not None:
                tasks.create_task(self._health.run(), name="health of the runtime")

    async def _look_after_images(self) -> None:
        while True:
            await self.look_at_images()
            await self._clock.sleep(_LIST_IMAGES)

    async def look_at_images(self) -> None:
        """List the images, and every few minutes remove what is too much; it is told when that cannot be done."""
        try:
            if self._clock.monotonic() < self._next_collection:
                await self._collector.detect()
                return
            self._next_collection = self._clock.monotonic() + self._settings.images.interval
            stats = await self.meter.stats()
            if stats.image_fs.capacity == 0:
                self._events.node_event(
                    self._name, "Warning", "InvalidDiskCapacity", "invalid capacity 0 on image filesystem"
                )
            if await self._collector.collect(stats.image_fs):
                self.meter.forget_disks()
            self._failed_before = False
        except Exception as error:  # noqa: BLE001 - nothing about one image may end the agent; said, and an event in the end
            if isinstance(error, InsufficientError):
                self._events.node_event(self._name, "Warning", "FreeDiskSpaceFailed", str(error))
            if self._failed_before:
                self._events.node_event(self._name, "Warning", "ImageGCFailed", str(error))
            self._failed_before = True
            unforeseen = None if isinstance(error, OrchError) else error
            _LOG.warning("images of node %s: %s", self._name, error, exc_info=unforeseen)


class SimulatedHousekeeping:
    """Looks after the simulated nodes of a process, of which only those need it whose pods use what scripts say."""

    def __init__(
        self,
        make: Callable[[str], Housekeeping],
        runtimes: Mapping[str, SimulatedRuntime],
        clock: Clock,
        interval: float,
    ) -> None:
        self._make = make
        self._runtimes = runtimes
        self._clock = clock
        self._interval = interval
        self._made: dict[str, Housekeeping] = {}

    async def run(self) -> None:
        """Look after them for ever, in turn."""
        while True:
            for place, (name, runtime) in enumerate(self._runtimes.items()):
                if place % _NODES_PER_TURN == 0:
                    await asyncio.sleep(0)
                if runtime.is_scripted() or name in self._made:
                    await self._look(name)
            await self._clock.sleep(self._interval)

    def house(self, name: str) -> Housekeeping:
        """Return who looks after a node, from now on if nobody did."""
        house = self._made.get(name)
        if house is None:
            house = self._made[name] = self._make(name)
        return house

    async def _look(self, name: str) -> None:
        house = self.house(name)
        try:
            await house.evictor.look()
        except Exception:  # noqa: BLE001 - nothing about one node may end the others
            _LOG.exception("simulated node %s could not be looked after", name)
        await house.look_at_images()


def share_of(node: Node) -> Share:
    """Return what of its machine a node has."""
    own, whole = node.memory_capacity, node.machine.memory_bytes
    reserved = (node.settings.reserved, node.settings.system_reserved)
    kept = sum(quantity.value(each.get("memory", "0")) for each in reserved)
    return Share(memory=own, pods_memory=max(own - kept, 0), of_machine=own < whole)
