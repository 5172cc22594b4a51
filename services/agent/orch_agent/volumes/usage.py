"""What volumes take of the node: bytes and files, as eviction and the node's statistics count them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from orch import quantity
from orch.objects.volumes import Volume
from orch_agent.stats import disk


class VolumeUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One volume. `bytes` as the file system counts blocks; `limit` is an emptyDir's, 0 for none.

    `medium` is an emptyDir's: what is in memory takes nothing of the disk. `ephemeral` says that the volume counts as
    the pod's own use of the node, as emptyDirs and what shows objects do.
    """

    name: str
    bytes: int
    files: int
    medium: str = ""
    limit: int = 0
    ephemeral: bool = True


def measure(volumes: Iterable[tuple[Volume, Path]]) -> list[VolumeUsage]:
    """Return what each volume takes. Paths of the node and images are not the pod's, and are left out."""
    found: list[VolumeUsage] = []
    for volume, path in volumes:
        if volume.host_path is not None or volume.image is not None:
            continue
        use = disk.measure(str(path))
        source = volume.empty_dir
        in_memory = volume.secret is not None or volume.projected is not None or volume.downward_api is not None
        medium = source.medium if source is not None else "Memory" if in_memory else ""
        limit = quantity.value(source.size_limit) if source is not None and source.size_limit else 0
        found.append(VolumeUsage(name=volume.name, bytes=use.bytes, files=use.inodes, medium=medium, limit=limit))
    return found
