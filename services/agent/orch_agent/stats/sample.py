"""A node's figures as the message that is pushed on the bus."""

from __future__ import annotations

from collections.abc import Iterable

from orch_agent.stats.model import ContainerStats, DiskUse, FileSystem, NetworkUse, NodeStats, PodStats
from orch_pb.v1 import node_pb2


class Samples:
    """The samples of one node. What they say of a pod whose figures are those of the last time is not made anew."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._told: dict[str, tuple[PodStats, node_pb2.PodUsage]] = {}

    def of(self, stats: NodeStats) -> node_pb2.UsageSample:
        """Return what the node used, as it was measured."""
        self._told = {uid: self._pod(uid, pod) for uid, pod in stats.pods.items()}
        return node_pb2.UsageSample(
            node=self._node,
            unix_nanos=int(stats.time * 1_000_000_000),
            cpu_nanos=stats.cpu_nanos,
            memory_bytes=stats.memory.working_set,
            pods=[told for _, told in self._told.values()],
            memory_available=stats.memory_available,
            node_fs=_file_system(stats.node_fs),
            image_fs=_file_system(stats.image_fs),
            processes=stats.processes,
            most_processes=stats.most_processes,
            networks=_networks(stats.networks),
        )

    def _pod(self, uid: str, pod: PodStats) -> tuple[PodStats, node_pb2.PodUsage]:
        known = self._told.get(uid)
        return known if known is not None and known[0] is pod else (pod, _pod(pod))


def _pod(pod: PodStats) -> node_pb2.PodUsage:
    return node_pb2.PodUsage(
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        containers=[_container(container) for container in pod.containers],
        memory_bytes=pod.memory.working_set,
        processes=pod.processes,
        volumes=[
            node_pb2.VolumeUsage(name=volume.name, used=_disk(volume.used), in_memory=volume.in_memory)
            for volume in pod.volumes
        ],
        networks=_networks(pod.networks),
    )


def _container(container: ContainerStats) -> node_pb2.ContainerUsage:
    memory = container.memory
    return node_pb2.ContainerUsage(
        container=container.name,
        cpu_nanos=container.cpu_nanos,
        memory_bytes=memory.working_set,
        rss_bytes=memory.rss,
        swap_bytes=memory.swap,
        page_faults=memory.page_faults,
        major_page_faults=memory.major_page_faults,
        throttled_nanos=container.throttling.throttled_nanos,
        processes=container.processes,
        layer=_disk(container.layer),
        logs=_disk(container.logs),
    )


def _disk(used: DiskUse) -> node_pb2.DiskUsage | None:
    return node_pb2.DiskUsage(bytes=used.bytes, inodes=used.inodes) if used.inodes else None


def _file_system(found: FileSystem) -> node_pb2.FileSystemUsage:
    return node_pb2.FileSystemUsage(
        capacity=found.capacity, available=found.available, inodes=found.inodes, inodes_free=found.inodes_free
    )


def _networks(networks: Iterable[NetworkUse]) -> list[node_pb2.NetworkUsage]:
    return [
        node_pb2.NetworkUsage(
            interface=each.name,
            rx_bytes=each.rx_bytes,
            rx_errors=each.rx_errors,
            tx_bytes=each.tx_bytes,
            tx_errors=each.tx_errors,
        )
        for each in networks
    ]
