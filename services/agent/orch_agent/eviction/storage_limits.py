"""Which pods take more of the disk than they may, whatever the node has left. Pure.

Source: k8s.io/kubernetes/pkg/kubelet/eviction/eviction_manager.go (localStorageEviction).
"""

from __future__ import annotations

from orch import quantity
from orch.objects.pods import Pod
from orch_agent.eviction.verdict import Eviction, container_exceeds_storage, empty_dir_exceeds, pod_exceeds_storage
from orch_agent.pods.resources import pod_limits
from orch_agent.stats.model import PodStats

_STORAGE = "ephemeral-storage"


def beyond_limits(pod: Pod, stats: PodStats, *, dedicated_image_fs: bool) -> Eviction | None:
    """Return the eviction that a pod calls for: by a volume, by all of it together, by a container; or None.

    What containers wrote into their roots counts unless that is on a disk of its own.
    """
    return (
        _by_volumes(pod, stats)
        or _by_pod(pod, stats, layers=not dedicated_image_fs)
        or _by_containers(pod, stats, layers=not dedicated_image_fs)
    )


def _by_volumes(pod: Pod, stats: PodStats) -> Eviction | None:
    used = {volume.name: volume.used.bytes for volume in stats.volumes}
    for volume in pod.spec.volumes:
        limit = volume.empty_dir.size_limit if volume.empty_dir is not None else ""
        if limit and 0 < quantity.value(limit) < used.get(volume.name, 0):
            return empty_dir_exceeds(volume.name, limit)
    return None


def _by_pod(pod: Pod, stats: PodStats, *, layers: bool) -> Eviction | None:
    limit = pod_limits(pod).get(_STORAGE)
    if limit is None:
        return None
    return pod_exceeds_storage(limit) if stats.disk(layers=layers, logs=True, volumes=True).bytes > limit else None


def _by_containers(pod: Pod, stats: PodStats, *, layers: bool) -> Eviction | None:
    limits = {
        each.name: each.resources.limits.get(_STORAGE) for each in (*pod.spec.init_containers, *pod.spec.containers)
    }
    for container in stats.containers:
        limit = limits.get(container.name)
        used = container.logs.bytes + (container.layer.bytes if layers else 0)
        if limit is not None and used > quantity.value(limit):
            return container_exceeds_storage(container.name, limit)
    return None
