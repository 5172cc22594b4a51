"""Who goes first when a node runs out of something. Pure.

Memory and disk: those that use more than they asked for come before those that do not; then the lower priority; then
who uses most beyond what it asked for. Process ids: the lower priority, then who has most. A pod of which nothing was
measured comes before one that was. Source: k8s.io/kubernetes/pkg/kubelet/eviction/helpers.go (rankMemoryPressure,
rankDiskPressureFunc, rankPIDPressure).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orch.objects.pods import Pod
from orch_agent.eviction.thresholds import Signal
from orch_agent.pods.resources import pod_requests
from orch_agent.stats.model import PodStats

_Key = Callable[[Pod, PodStats | None], tuple[Any, ...]]


def rank(signal: Signal, pods: Iterable[Pod], stats: Mapping[str, PodStats], *, dedicated_image_fs: bool) -> list[Pod]:
    """Return the pods in the order in which they would be evicted for `signal`."""
    key = _key(signal, dedicated_image_fs=dedicated_image_fs)
    return sorted(pods, key=lambda pod: key(pod, stats.get(pod.metadata.uid)))


def _key(signal: Signal, *, dedicated_image_fs: bool) -> _Key:
    if signal in {Signal.MEMORY, Signal.ALLOCATABLE_MEMORY}:
        return _by_memory
    if signal is Signal.PIDS:
        return _by_processes
    on_images = signal in {Signal.IMAGE_FS, Signal.IMAGE_FS_INODES}
    layers = on_images or not dedicated_image_fs
    rest = not on_images or not dedicated_image_fs
    inodes = signal in {Signal.NODE_FS_INODES, Signal.IMAGE_FS_INODES}

    def by_disk(pod: Pod, stats: PodStats | None) -> tuple[Any, ...]:
        if stats is None:
            return (0, False, pod.spec.priority, 0)
        taken = stats.disk(layers=layers, logs=rest, volumes=rest)
        used = taken.inodes if inodes else taken.bytes
        asked = 0 if inodes else pod_requests(pod).get("ephemeral-storage", 0)
        return (1, used <= asked, pod.spec.priority, asked - used)

    return by_disk


def _by_memory(pod: Pod, stats: PodStats | None) -> tuple[Any, ...]:
    if stats is None:
        return (0, False, pod.spec.priority, 0)
    asked = pod_requests(pod).get("memory", 0)
    used = stats.memory.working_set
    return (1, used <= asked, pod.spec.priority, asked - used)


def _by_processes(pod: Pod, stats: PodStats | None) -> tuple[Any, ...]:
    if stats is None:
        return (0, pod.spec.priority, 0)
    return (1, pod.spec.priority, -stats.processes)
