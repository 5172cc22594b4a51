"""What is known of a node's use at one moment: plain figures, whoever measured them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class DiskUse(msgspec.Struct, frozen=True, gc=False):
    """What a folder takes."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: DiskUse) -> DiskUse:
        """Return what both take together."""
        return DiskUse(self.bytes + other.bytes, self.inodes + other.inodes)


class FileSystem(msgspec.Struct, frozen=True, gc=False):
    """A file system as a whole, in bytes and inodes. A capacity of 0 inodes means that it does not count them."""

    capacity: int = 0
    available: int = 0
    inodes: int = 0
    inodes_free: int = 0

    @property
    def used(self) -> int:
        """The bytes that are taken, those that only root may still take among them."""
        return max(self.capacity - self.available, 0)


class MemoryUse(msgspec.Struct, frozen=True, gc=False):
    """Memory in bytes, and page faults since the beginning."""

    usage: int = 0
    working_set: int = 0
    rss: int = 0
    swap: int = 0
    page_faults: int = 0
    major_page_faults: int = 0

    def __add__(self, other: MemoryUse) -> MemoryUse:
        """Return what both use together."""
        return MemoryUse(*(one + another for one, another in zip(_fields(self), _fields(other), strict=True)))


class NetworkUse(msgspec.Struct, frozen=True, gc=False):
    """What one interface has carried since it is there."""

    name: str = "eth0"
    rx_bytes: int = 0
    rx_errors: int = 0
    tx_bytes: int = 0
    tx_errors: int = 0
    rx_packets: int = 0
    tx_packets: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


class Throttling(msgspec.Struct, frozen=True, gc=False):
    """How often a quota was looked at, how often it was used up, and for how long that held the container back."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_nanos: int = 0


class ContainerStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One running container. Processor time counts from its start; the layer is what it wrote into its own root."""

    name: str
    id: str = ""
    cpu_nanos: int = 0
    memory: MemoryUse = MemoryUse()
    throttling: Throttling = Throttling()
    processes: int = 0
    layer: DiskUse = DiskUse()
    logs: DiskUse = DiskUse()


class VolumeStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A volume of a pod. `in_memory` and `local`: whether it takes the node's memory, or its disk.

    `file_system` is what it lies on; `claim` names the claim that it is.
    """

    name: str
    used: DiskUse = DiskUse()
    file_system: FileSystem = FileSystem()
    in_memory: bool = False
    local: bool = True
    claim: str = ""


class PodStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pod. `cpu_nanos` and `memory` are its group's where it has one: more than its containers' sum."""

    namespace: str
    name: str
    uid: str
    containers: tuple[ContainerStats, ...] = ()
    volumes: tuple[VolumeStats, ...] = ()
    networks: tuple[NetworkUse, ...] = ()
    cpu_nanos: int = 0
    memory: MemoryUse = MemoryUse()
    processes: int = 0

    def disk(self, *, layers: bool, logs: bool, volumes: bool) -> DiskUse:
        """Return what the pod takes of a disk that holds those of its parts."""
        total = DiskUse()
        for container in self.containers:
            total += container.layer if layers else DiskUse()
            total += container.logs if logs else DiskUse()
        for volume in self.volumes if volumes else ():
            total += volume.used if volume.local and not volume.in_memory else DiskUse()
        return total


class NodeStats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node at a moment (`time`, seconds since the epoch).

    `memory_available` is what is left before the machine, or the node's share of it, is full; `pods_memory_available`
    the same of what all pods may take together. `image_fs` is the same as `node_fs` unless images have a disk of their
    own (`dedicated_image_fs`).
    """

    time: float
    cpu_nanos: int = 0
    memory: MemoryUse = MemoryUse()
    memory_capacity: int = 0
    memory_available: int = 0
    pods_memory_capacity: int = 0
    pods_memory_available: int = 0
    node_fs: FileSystem = FileSystem()
    image_fs: FileSystem = FileSystem()
    dedicated_image_fs: bool = False
    images_bytes: int = 0
    containers_bytes: int = 0
    most_processes: int = 0
    processes: int = 0
    networks: tuple[NetworkUse, ...] = ()
    swap_capacity: int = 0
    started_at: float = 0.0
    pods: Mapping[str, PodStats] = {}


def _fields(memory: MemoryUse) -> tuple[int, ...]:
    return (
        memory.usage,
        memory.working_set,
        memory.rss,
        memory.swap,
        memory.page_faults,
        memory.major_page_faults,
    )
