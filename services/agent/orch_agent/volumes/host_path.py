"""Paths of the node itself (pkg/volume/hostpath)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orch.objects.pods import Pod
from orch.objects.volumes import HostPathSource, Volume
from orch_agent.volumes.protocol import Ready, VolumeError, in_thread

_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644

_KINDS: Final[Mapping[str, tuple[str, Callable[[int], bool]]]] = {
    "DirectoryOrCreate": ("a directory", stat.S_ISDIR),
    "Directory": ("a directory", stat.S_ISDIR),
    "FileOrCreate": ("a file", stat.S_ISREG),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket file", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


class HostPathVolumes:
    """The kind hostPath. The folder of the volume stays unused, and fsGroup leaves the node's files alone."""

    name = "kubernetes.io/host-path"
    volatile = False

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is a path of the node."""
        return volume.host_path is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Make sure that the path is what the volume's type says."""
        _ = pod, folder
        source = volume.host_path or HostPathSource()
        await in_thread(check, source)
        return Ready(path=Path(source.path))

    async def tear_down(self, folder: Path) -> None:
        """Leave what is the node's."""


def check(source: HostPathSource) -> None:
    """Check the path, and make it if the type says so. Raises VolumeError worded as kubelet."""
    path = source.path
    if ".." in path.split("/"):
        raise VolumeError(f"invalid HostPath `{path}`: must not contain '..'")
    try:
        mode = _mode(path)
        if mode is None and source.type in {"", "DirectoryOrCreate"}:
            # Without a type nothing is checked; a path that is not there becomes a folder, as runtimes make it.
            os.makedirs(path, _FOLDER_MODE, exist_ok=True)  # noqa: PTH103 - Path.mkdir would not pass the mode on
            return
        if mode is None and source.type == "FileOrCreate":
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE))
            return
    except OSError as error:
        raise VolumeError(f"hostPath type check failed: {error.strerror}: {path}") from error
    if not source.type:
        return
    if source.type not in _KINDS:
        raise VolumeError(f"{source.type} is an invalid volume type")
    what, is_right = _KINDS[source.type]
    if mode is None or not is_right(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {what}")


def _mode(path: str) -> int | None:
    """Return the mode of what a path leads to, None when there is nothing."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - texts all along
    except FileNotFoundError:
        return None
