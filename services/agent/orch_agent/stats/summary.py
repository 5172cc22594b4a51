"""A node's figures as /stats/summary tells them (k8s.io/kubelet/pkg/apis/stats/v1alpha1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from orch.clock import rfc3339
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

_DEFAULT: Final = "eth0"

Document = dict[str, Any]


class Rates:
    """Processors in use at this moment, from how processor time grows between two questions."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, int] = {}

    def take(self, stats: NodeStats) -> None:
        """Compare with the figures before; what came since has no rate yet."""
        found = {"": stats.cpu_nanos}
        for pod in stats.pods.values():
            found[pod.uid] = pod.cpu_nanos
            found |= {f"{pod.uid}/{each.name}": each.cpu_nanos for each in pod.containers}
        rates: dict[str, int] = {}
        for name, nanos in found.items():
            before = self._before.get(name)
            if before is not None and stats.time > before[0] and nanos >= before[1]:
                rates[name] = int((nanos - before[1]) / (stats.time - before[0]))
        self._rates = rates
        self._before = {name: (stats.time, nanos) for name, nanos in found.items()}

    def of(self, uid: str = "", container: str = "") -> int | None:
        """Return billionths of a processor that the node, a pod or a container uses; None when not known yet."""
        return self._rates.get(f"{uid}/{container}" if container else uid)


def summary(
    node: str, stats: NodeStats, rates: Rates, started: Mapping[str, str], *, only_cpu_and_memory: bool = False
) -> Document:
    """Return the whole document; `started` are start times by pod uid, and "uid/container"."""
    now = _moment(stats.time)
    told: Document = {
        "nodeName": node,
        "systemContainers": [
            {
                "name": "pods",
                "startTime": _moment(stats.started_at),
                "cpu": _cpu(now, sum(pod.cpu_nanos for pod in stats.pods.values()), None),
                "memory": {
                    "time": now,
                    "availableBytes": stats.pods_memory_available,
                    "workingSetBytes": sum(pod.memory.working_set for pod in stats.pods.values()),
                },
            }
        ],
        "startTime": _moment(stats.started_at),
        "cpu": _cpu(now, stats.cpu_nanos, rates.of()),
        "memory": _memory(now, stats.memory, available=stats.memory_available),
    }
    if not only_cpu_and_memory:
        images = _file_system(now, stats.image_fs, DiskUse(stats.images_bytes, 0))
        containers = _file_system(now, stats.image_fs, DiskUse(stats.containers_bytes, 0))
        told |= {
            **_networks(now, stats.networks),
            "fs": _file_system(now, stats.node_fs, None),
            "runtime": {"imageFs": images, "containerFs": containers},
            "rlimit": {"time": now, "maxpid": stats.most_processes, "curproc": stats.processes},
            "swap": _swap(now, stats.memory, stats.swap_capacity),
        }
    pods = [_pod(now, stats, pod, rates, started, brief=only_cpu_and_memory) for pod in stats.pods.values()]
    return {"node": told, "pods": pods}


def _pod(
    now: str, stats: NodeStats, pod: PodStats, rates: Rates, started: Mapping[str, str], *, brief: bool
) -> Document:
    told: Document = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        **_started(started.get(pod.uid)),
        "containers": [_container(now, stats, pod, each, rates, started, brief=brief) for each in pod.containers],
        "cpu": _cpu(now, pod.cpu_nanos, rates.of(pod.uid)),
        "memory": _memory(now, pod.memory),
    }
    if brief:
        return told
    whole = pod.disk(layers=True, logs=True, volumes=True)
    return told | {
        **_networks(now, pod.networks),
        "volume": [_volume(now, stats, each) for each in pod.volumes],
        "ephemeral-storage": _file_system(now, stats.node_fs, whole),
        "process_stats": {"process_count": pod.processes},
        "swap": _swap(now, pod.memory, stats.swap_capacity),
    }


def _container(
    now: str,
    stats: NodeStats,
    pod: PodStats,
    container: ContainerStats,
    rates: Rates,
    started: Mapping[str, str],
    *,
    brief: bool,
) -> Document:
    told: Document = {
        "name": container.name,
        **_started(started.get(f"{pod.uid}/{container.name}")),
        "cpu": _cpu(now, container.cpu_nanos, rates.of(pod.uid, container.name)),
        "memory": _memory(now, container.memory),
    }
    if brief:
        return told
    return told | {
        "rootfs": _file_system(now, stats.image_fs, container.layer),
        "logs": _file_system(now, stats.node_fs, container.logs),
        "swap": _swap(now, container.memory, stats.swap_capacity),
    }


def _volume(now: str, stats: NodeStats, volume: VolumeStats) -> Document:
    on = volume.file_system if volume.file_system.capacity else stats.node_fs
    return {**_file_system(now, on, volume.used), "name": volume.name}


def _started(moment: str | None) -> Document:
    return {"startTime": moment} if moment else {}


def _cpu(now: str, nanos: int, rate: int | None) -> Document:
    usage = {} if rate is None else {"usageNanoCores": rate}
    return {"time": now, **usage, "usageCoreNanoSeconds": nanos}


def _memory(now: str, memory: MemoryUse, *, available: int | None = None) -> Document:
    spare = {} if available is None else {"availableBytes": available}
    return {
        "time": now,
        **spare,
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.page_faults,
        "majorPageFaults": memory.major_page_faults,
    }


def _swap(now: str, memory: MemoryUse, capacity: int) -> Document:
    return {"time": now, "swapAvailableBytes": max(capacity - memory.swap, 0), "swapUsageBytes": memory.swap}


def _file_system(now: str, found: FileSystem, used: DiskUse | None) -> Document:
    """Return a file system, and what of it something takes; None: all that is taken."""
    inodes_used = found.inodes - found.inodes_free if used is None else used.inodes
    return {
        "time": now,
        "availableBytes": found.available,
        "capacityBytes": found.capacity,
        "usedBytes": found.used if used is None else used.bytes,
        "inodesFree": found.inodes_free,
        "inodes": found.inodes,
        "inodesUsed": inodes_used,
    }


def _networks(now: str, networks: Sequence[NetworkUse]) -> Document:
    """Return all interfaces, the first of them as the one by default; nothing when there is none to be seen."""
    if not networks:
        return {}
    first = next((each for each in networks if each.name == _DEFAULT), networks[0])
    return {"network": {"time": now, **_interface(first), "interfaces": _interfaces(networks)}}


def _interfaces(networks: Iterable[NetworkUse]) -> list[Document]:
    return [_interface(each) for each in networks]


def _interface(network: NetworkUse) -> Document:
    return {
        "name": network.name,
        "rxBytes": network.rx_bytes,
        "rxErrors": network.rx_errors,
        "txBytes": network.tx_bytes,
        "txErrors": network.tx_errors,
    }


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
