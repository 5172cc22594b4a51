"""Measures one node: what changes fast each time it is asked, what takes long to find out now and then.

Disks are walked, so they are measured every few seconds at most, and less often the longer that took; in between, and
every second, the last figures count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from orch.clock import Clock
from orch_agent.pods.groups import PodGroups
from orch_agent.runtimes.cgroups import GroupUse
from orch_agent.runtimes.protocol import Layers, Runtime, Usage
from orch_agent.stats import machine
from orch_agent.stats.disk import device_of, file_system
from orch_agent.stats.model import (
    ContainerStats,
    DiskUse,
    FileSystem,
    MemoryUse,
    NetworkUse,
    NodeStats,
    PodStats,
    VolumeStats,
)
from orch_agent.volumes.usage import VolumeUsage

VolumeMeter = Callable[[str], Awaitable[Sequence[VolumeUsage]]]
"""Returns what a pod's volumes take, by its uid."""

_EVERY: Final = 10.0
_SHARE_OF_TIME: Final = 20
"""So many times as long as measuring took it is not done again."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What the node has: bytes of memory in all and for pods. `of_machine`: it is but a part of the machine."""

    memory: int
    pods_memory: int
    of_machine: bool


class _Detail(msgspec.Struct, frozen=True):
    """What a pod's group and network said the last time: they cost too much to be asked each second."""

    use: GroupUse
    networks: tuple[NetworkUse, ...]


class _Disks(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on the disks the last time."""

    layers: Mapping[str, Layers] = {}
    volumes: Mapping[str, Sequence[VolumeStats]] = {}
    images_bytes: int = 0
    image_folder: str = ""


class NodeMeter:
    """The meter of one node. `folder` is on the file system of pods; "" for a node that is simulated."""

    def __init__(
        self,
        runtime: Runtime,
        groups: PodGroups,
        clock: Clock,
        share: Share,
        *,
        folder: str,
        volumes: VolumeMeter,
        pods: Callable[[], Sequence[str]],
    ) -> None:
        self._runtime = runtime
        self._groups = groups
        self._clock = clock
        self._share = share
        self._folder = folder
        self._volumes = volumes
        self._pods = pods
        self._disks = _Disks()
        self._next_look = 0.0
        self._born = clock.now().timestamp()
        self._details: dict[str, _Detail] = {}
        self._lock = asyncio.Lock()

    async def stats(self, *, fresh: bool = False) -> NodeStats:
        """Return what the node uses. `fresh`: pods are looked at closely, and so are disks, but every few seconds."""
        if fresh:
            async with self._lock:
                if self._clock.monotonic() >= self._next_look:
                    await self._look_at_disks()
        usages = await self._runtime.usage()
        pods = {uid: self._pod(uid, found) for uid, found in _by_pod(usages).items()}
        if not self._folder:
            return self._simulated(pods)
        return await asyncio.to_thread(self._real, pods, fresh)

    def forget_disks(self) -> None:
        """Have the disks measured the next time: something was removed."""
        self._next_look = 0.0

    async def _look_at_disks(self) -> None:
        begun = self._clock.monotonic()
        layers = {each.id: each for each in await self._runtime.layers()}
        volumes = {uid: [_volume(each) for each in await self._volumes(uid)] for uid in self._pods()}
        images = sum(image.size for image in await self._runtime.images())
        self._disks = _Disks(
            layers=layers,
            volumes={uid: found for uid, found in volumes.items() if found},
            images_bytes=images,
            image_folder=await self._runtime.image_file_system(),
        )
        took = self._clock.monotonic() - begun
        self._next_look = begun + max(_EVERY, took * _SHARE_OF_TIME) * 0.9

    def _pod(self, uid: str, usages: Sequence[Usage]) -> PodStats:
        """Return what is known of a pod without asking the kernel for more."""
        containers = tuple(self._container(usage) for usage in usages)
        first = usages[0].identity
        return PodStats(
            namespace=first.namespace,
            name=first.pod,
            uid=uid,
            containers=containers,
            volumes=tuple(self._disks.volumes.get(uid, ())),
            cpu_nanos=sum(each.cpu_nanos for each in containers),
            memory=_total(each.memory for each in containers),
            processes=sum(each.processes for each in containers),
        )

    def _container(self, usage: Usage) -> ContainerStats:
        layers = self._disks.layers.get(usage.id)
        memory = usage.memory
        if not memory.working_set:
            memory = MemoryUse(usage=usage.memory_bytes, working_set=usage.memory_bytes, rss=usage.memory_bytes)
        return ContainerStats(
            name=usage.identity.container,
            id=usage.id,
            cpu_nanos=usage.cpu_nanos,
            memory=memory,
            throttling=usage.throttling,
            processes=usage.processes,
            layer=layers.layer if layers is not None else DiskUse(),
            logs=layers.logs if layers is not None else DiskUse(),
        )

    def _simulated(self, pods: Mapping[str, PodStats]) -> NodeStats:
        """Return the sums: a simulated node uses what its pods do, and its disk is as large as the machine's."""
        memory = _total(pod.memory for pod in pods.values())
        written = sum(pod.disk(layers=True, logs=True, volumes=True).bytes for pod in pods.values())
        whole = file_system("/")
        disk = FileSystem(whole.capacity, max(whole.capacity - written - self._disks.images_bytes, 0), 1 << 24, 1 << 23)
        return NodeStats(
            time=self._clock.now().timestamp(),
            cpu_nanos=sum(pod.cpu_nanos for pod in pods.values()),
            memory=memory,
            memory_capacity=self._share.memory,
            memory_available=max(self._share.memory - memory.working_set, 0),
            pods_memory_capacity=self._share.pods_memory,
            pods_memory_available=max(self._share.pods_memory - memory.working_set, 0),
            node_fs=disk,
            image_fs=disk,
            images_bytes=self._disks.images_bytes,
            containers_bytes=written,
            most_processes=32_768,
            processes=sum(pod.processes for pod in pods.values()),
            started_at=self._born,
            pods=pods,
        )

    def _real(self, pods: Mapping[str, PodStats], fresh: bool) -> NodeStats:
        if fresh:
            self._details = {uid: detail for uid, pod in pods.items() if (detail := self._look_at(pod)) is not None}
        found = machine.look()
        whole = self._groups.use_of_all()
        cpu, memory, available = found.cpu_nanos, found.memory, found.memory_available
        left = self._share.pods_memory
        if whole is not None:
            left = max(self._share.pods_memory - whole.memory.working_set, 0)
            if self._share.of_machine:
                cpu, memory = whole.cpu_nanos, whole.memory
                available = min(available, max(self._share.memory - whole.memory.working_set, 0))
        images = self._disks.image_folder or self._folder
        return NodeStats(
            time=self._clock.now().timestamp(),
            cpu_nanos=cpu,
            memory=memory,
            memory_capacity=self._share.memory,
            memory_available=available,
            pods_memory_capacity=self._share.pods_memory,
            pods_memory_available=min(left, available),
            node_fs=file_system(self._folder),
            image_fs=file_system(images),
            dedicated_image_fs=device_of(images) not in {0, device_of(self._folder)},
            images_bytes=self._disks.images_bytes,
            containers_bytes=sum(each.layer.bytes for each in self._disks.layers.values()),
            most_processes=found.most_processes,
            processes=found.processes,
            networks=found.networks,
            swap_capacity=found.swap_total,
            started_at=found.booted_at,
            pods={uid: self._with_group(pod) for uid, pod in pods.items()},
        )

    def _look_at(self, pod: PodStats) -> _Detail | None:
        used = self._groups.use(pod.uid)
        return _Detail(used, self._networks_of(pod)) if used is not None else None

    def _with_group(self, pod: PodStats) -> PodStats:
        """Add what only the pod's group and network tell: what its volumes in memory take, what it has sent."""
        detail = self._details.get(pod.uid)
        if detail is None:
            return pod
        return msgspec.structs.replace(
            pod,
            cpu_nanos=max(detail.use.cpu_nanos, pod.cpu_nanos),
            memory=detail.use.memory,
            processes=max(detail.use.processes, pod.processes),
            networks=detail.networks,
        )

    def _networks_of(self, pod: PodStats) -> tuple[NetworkUse, ...]:
        for container in pod.containers:
            process = self._groups.first_process(pod.uid, container.id)
            if process:
                return machine.networks(Path(f"/proc/{process}/net/dev"))
        return ()


def _volume(found: VolumeUsage) -> VolumeStats:
    used = DiskUse(found.bytes, found.files)
    return VolumeStats(name=found.name, used=used, in_memory=bool(found.medium), local=found.ephemeral)


def _by_pod(usages: Sequence[Usage]) -> Mapping[str, list[Usage]]:
    pods: dict[str, list[Usage]] = {}
    for usage in usages:
        pods.setdefault(usage.identity.uid, []).append(usage)
    return pods


def _total(memories: Iterable[MemoryUse]) -> MemoryUse:
    total = MemoryUse()
    for each in memories:
        total += each
    return total
