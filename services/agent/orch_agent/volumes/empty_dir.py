"""Folders that live as long as their pod: on the disk, in memory, or of huge pages (pkg/volume/emptydir)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from orch import quantity
from orch.objects.pods import Container, Pod
from orch.objects.volumes import EmptyDirSource, Volume
from orch_agent.volumes.mounts import Mounts
from orch_agent.volumes.ownership import give_to_group, group_of
from orch_agent.volumes.protocol import NodeFacts, Ready, VolumeError, in_thread

_MODE: Final = 0o777
_MEMORY: Final = "Memory"
_HUGE_PAGES: Final = "HugePages"
_HUGE_PAGE_RESOURCE: Final = "hugepages-"
_MARKER: Final = ".ready"


class EmptyDirVolumes:
    """The kind emptyDir."""

    name = "kubernetes.io/empty-dir"
    volatile = False

    def __init__(self, mounts: Mounts, facts: NodeFacts) -> None:
        self._mounts = mounts
        self._facts = facts

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is an empty folder."""
        return volume.empty_dir is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Make the folder once; what pods put into it is never touched again."""
        source = volume.empty_dir or EmptyDirSource()
        await in_thread(self._set_up, pod, source, folder)
        return Ready(path=folder)

    async def tear_down(self, folder: Path) -> None:
        """Nothing but the folder and its mount is there."""

    def _set_up(self, pod: Pod, source: EmptyDirSource, folder: Path) -> None:
        # What says that the folder is complete lies beside it, where the pod does not see it.
        marker = folder.with_name(f"{folder.name}{_MARKER}")
        try:
            in_place = folder in self._mounts.below(folder)
            if marker.exists() and (in_place or not source.medium):
                return
            folder.mkdir(parents=True, exist_ok=True)
            if not in_place:
                self._mount(pod, source, folder)
            folder.chmod(_MODE)
            give_to_group(folder, group_of(pod))
            marker.touch()
        except OSError as error:
            raise VolumeError(f"{error.strerror or error}: {folder}") from error

    def _mount(self, pod: Pod, source: EmptyDirSource, folder: Path) -> None:
        if source.medium == _MEMORY:
            self._mounts.tmpfs(folder, size=memory_size(pod, source, self._facts), mode=_MODE)
        elif source.medium.startswith(_HUGE_PAGES):
            self._mounts.huge_pages(folder, quantity.value(page_size(pod, source.medium)))
        elif source.medium:
            raise VolumeError(f'unknown storage medium "{source.medium}"')


def memory_size(pod: Pod, source: EmptyDirSource, facts: NodeFacts) -> int:
    """Return how large a volume in memory may grow: its limit, the pod's memory, the node's, whichever is least."""
    sizes = [quantity.value(facts.allocatable.get("memory", "0")), memory_limit(pod)]
    if source.size_limit:
        sizes.append(quantity.value(source.size_limit))
    return min((size for size in sizes if size > 0), default=0)


def memory_limit(pod: Pod) -> int:
    """Return how much memory the pod's containers may have together, 0 when one of them has no limit."""
    whole = pod.spec.resources.limits.get("memory") if pod.spec.resources is not None else None
    if whole:
        return quantity.value(whole)
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    limits = [each.resources.limits.get("memory", "0") for each in (*pod.spec.containers, *sidecars)]
    amounts = [quantity.value(limit) for limit in limits]
    if not all(amounts):
        return 0
    initial = [
        quantity.value(each.resources.limits.get("memory", "0"))
        for each in pod.spec.init_containers
        if each.restart_policy != "Always"
    ]
    return max(sum(amounts), *initial) if initial else sum(amounts)


def page_size(pod: Pod, medium: str) -> str:
    """Return the size of a volume's pages as a quantity. Raises VolumeError when the pod does not say it."""
    wanted = medium.removeprefix(f"{_HUGE_PAGES}-") if medium != _HUGE_PAGES else ""
    sizes = {size for container in _containers(pod) for size in _requested_pages(container)}
    if wanted:
        if all(quantity.value(size) != quantity.value(wanted) for size in sizes):
            raise VolumeError(
                f'medium "{medium}" requires resource requests or limits for containers requesting this page size'
            )
        return wanted
    if len(sizes) != 1:
        raise VolumeError(
            "medium HugePages can only be used if container requests defined for one page size"
            if sizes
            else "hugePages storage requested, but there is no resource request for huge pages"
        )
    return sizes.pop()


def _containers(pod: Pod) -> tuple[Container, ...]:
    return (*pod.spec.init_containers, *pod.spec.containers)


def _requested_pages(container: Container) -> list[str]:
    resources = {**container.resources.limits, **container.resources.requests}
    return [name.removeprefix(_HUGE_PAGE_RESOURCE) for name in resources if name.startswith(_HUGE_PAGE_RESOURCE)]
