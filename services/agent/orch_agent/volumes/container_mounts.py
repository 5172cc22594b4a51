"""What a container sees of its pod's volumes, and where (makeMounts in pkg/kubelet/kubelet_pods.go)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orch.objects.pods import Container
from orch.objects.volumes import RECURSIVELY, VolumeMount
from orch_agent.pods.environment import ConfigurationError
from orch_agent.runtimes.protocol import Mount, Propagation
from orch_agent.volumes.mounts import Mounts
from orch_agent.volumes.protocol import Ready, VolumeError, in_thread
from orch_agent.volumes.sub_paths import bind_sub_path, check_sub_path

_LOG: Final = logging.getLogger(__name__)
_REFERENCE: Final = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")
_PROPAGATIONS: Final[Mapping[str, Propagation]] = {
    "": "private",
    "None": "private",
    "HostToContainer": "slave",
    "Bidirectional": "shared",
}
_SUB_PATHS: Final = "subpaths"


class ContainerMounts:
    """Makes the mounts of one pod's containers. `folder` is the pod's own on the node."""

    def __init__(self, mounts: Mounts, folder: Path, volumes: Mapping[str, Ready]) -> None:
        self._mounts = mounts
        self._folder = folder
        self._place = folder / _SUB_PATHS
        self._volumes = volumes

    async def of(self, container: Container, variables: Mapping[str, str]) -> tuple[Mount, ...]:
        """Return a container's mounts, each time it starts. Raises ConfigurationError worded as kubelet."""
        return tuple(
            [
                await self._mount(container, index, mount, variables)
                for index, mount in enumerate(container.volume_mounts)
            ]
        )

    async def _mount(self, container: Container, index: int, mount: VolumeMount, variables: Mapping[str, str]) -> Mount:
        volume = self._volumes.get(mount.name)
        if volume is None:
            raise ConfigurationError(f'cannot find volume "{mount.name}" to mount into container "{container.name}"')
        sub_path = expanded(mount, variables)
        try:
            check_sub_path(sub_path)
        except VolumeError as error:
            raise ConfigurationError(str(error)) from error
        read_only = mount.read_only or volume.read_only
        made = Mount(
            source=str(volume.path),
            target=mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}",
            read_only=read_only,
            propagation=_PROPAGATIONS.get(mount.mount_propagation, "private"),
            image=volume.image,
            image_path=sub_path if volume.image else "",
        )
        if made.propagation != "private" and volume.path.is_relative_to(self._folder):
            await self._share(volume.path)
        recursive = mount.read_only and mount.recursive_read_only in RECURSIVELY
        if volume.image or not (sub_path or recursive):
            return made
        place = self._place / mount.name / container.name / str(index)
        try:
            await in_thread(bind_sub_path, self._mounts, volume.path, sub_path, place, read_only=recursive)
        except (VolumeError, OSError) as error:
            _LOG.warning("%s of volume %s for container %s: %s", sub_path, mount.name, container.name, error)
            what = f'volumeMount "{mount.name}" of container "{container.name}"'
            raise ConfigurationError(f"failed to prepare subPath for {what}") from error
        return Mount(source=str(place), target=made.target, read_only=read_only, propagation=made.propagation)

    async def _share(self, path: Path) -> None:
        """Let mounts in a volume of ours spread; those in a path of the node do as the node's own mounts are set."""
        try:
            await in_thread(share_in_place, self._mounts, path)
        except OSError as error:
            raise ConfigurationError(f"mounts in {path} cannot be shared: {error.strerror}") from error


def share_in_place(mounts: Mounts, path: Path) -> None:
    """Make a folder a shared mount, unless it is a mount already, which only becomes shared. Raises OSError."""
    if path not in mounts.below(path):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            mounts.bind(opened, path)
        finally:
            os.close(opened)
    mounts.share(path)


def expanded(mount: VolumeMount, variables: Mapping[str, str]) -> str:
    """Return the mount's sub path, with its variables. Raises ConfigurationError for missing ones."""
    if not mount.sub_path_expr:
        return mount.sub_path
    missing: set[str] = set()

    def value(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is None:
            return "$"
        if not variables.get(name):
            missing.add(name)
        return variables.get(name, "")

    text = _REFERENCE.sub(value, mount.sub_path_expr)
    if missing:
        raise ConfigurationError(f"missing value for {', '.join(sorted(missing))}")
    return text
