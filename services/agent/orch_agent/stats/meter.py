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


class _Built(msgspec.Struct, frozen=True):
    """A pod's figures, and what they were made of."""

    usages: Sequence[Usage]
    detail: _Detail | None
    disks: _Disks
    stats: PodStats

    def is_of(self, usages: Sequence[Usage], detail: _Detail | None, disks: _Disks) -> bool:
        """Return whether the same figures would come of these."""
        return self.detail is detail and self.disks is disks and self.usages == usages


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
        self._built: dict[str, _Built] = {}
        self._lock = asyncio.Lock()

    async def stats(self, *, fresh: bool = False) -> NodeStats:
        """Return what the node uses. `fresh`: pods are looked at closely, and so are disks, but every few seconds."""
        if fresh:
            async with self._lock:
                if self._clock.monotonic() >= self._next_look:
                    await self._look_at_disks()
        usages = _by_pod(await self._runtime.usage())
        if not self._folder:
            return self._simulated({uid: self._pod(uid, found, None) for uid, found in usages.items()})
        return await asyncio.to_thread(self._real, usages, fresh)

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

    def _pod(self, uid: str, usages: Sequence[Usage], detail: _Detail | None) -> PodStats:
        """Return what is known of a pod; `detail` is what only its group and network tell."""
        containers = tuple(self._container(usage) for usage in usages)
        first = usages[0].identity
        cpu, processes = sum(each.cpu_nanos for each in containers), sum(each.processes for each in containers)
        return PodStats(
            namespace=first.namespace,
            name=first.pod,
            uid=uid,
            containers=containers,
            volumes=tuple(self._disks.volumes.get(uid, ())),
            networks=() if detail is None else detail.networks,
            cpu_nanos=cpu if detail is None else max(detail.use.cpu_nanos, cpu),
            memory=_total(each.memory for each in containers) if detail is None else detail.use.memory,
            processes=processes if detail is None else max(detail.use.processes, processes),
        )

    def _pods_of(self, usages: Mapping[str, Sequence[Usage]]) -> Mapping[str, PodStats]:
        """Return the figures of real pods; those of one that did nothing are the very object of the last time."""
        built: dict[str, _Built] = {}
        for uid, found in usages.items():
            detail, known = self._details.get(uid), self._built.get(uid)
            if known is None or not known.is_of(found, detail, self._disks):
                known = _Built(found, detail, self._disks, self._pod(uid, found, detail))
            built[uid] = known
        self._built = built
        return {uid: each.stats for uid, each in built.items()}

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

    def _real(self, usages: Mapping[str, Sequence[Usage]], fresh: bool) -> NodeStats:
        if fresh:
            looked_at = ((uid, self._look_at(uid, found)) for uid, found in usages.items())
            self._details = {uid: detail for uid, detail in looked_at if detail is not None}
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
            pods=self._pods_of(usages),
        )

    def _look_at(self, uid: str, usages: Sequence[Usage]) -> _Detail | None:
        """Return what a pod's group and network tell; the very object of the last time if that is the same."""
        before = self._details.get(uid)
        used = self._groups.use(uid)
        if used is None:
            return None
        found = _Detail(used, self._networks_of(uid, usages))
        return before if before == found else found

    def _networks_of(self, uid: str, usages: Sequence[Usage]) -> tuple[NetworkUse, ...]:
        for usage in usages:
            process = self._groups.first_process(uid, usage.id)
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
