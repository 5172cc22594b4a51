"""A part of a volume, shown to a container without a way out of the volume (pkg/volume/util/subpath).

Containers that share a volume may put links into it, and change them at any moment. So the kernel resolves the path
below the volume in one call, what it found is held open, and that is bound to a place that only the agent can change:
no path is looked up twice.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from orch_agent.volumes.kernel import open_beneath
from orch_agent.volumes.mounts import Mounts, clear
from orch_agent.volumes.protocol import VolumeError


def check_sub_path(path: str) -> None:
    """Refuse a path that leads out by itself. Raises VolumeError worded as kubelet."""
    if path.startswith("/"):
        raise VolumeError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise VolumeError(f"unable to provision SubPath `{path}`: must not contain '..'")


def bind_sub_path(mounts: Mounts, volume: Path, path: str, target: Path, *, read_only: bool) -> None:
    """Show what lies at `path` in a volume at `target`; a folder is made where there is nothing yet.

    `path` "" is the volume itself. With `read_only` everything mounted below is so, too. Raises VolumeError, OSError.
    """
    found = open_sub_path(volume, path)
    try:
        clear(mounts, target)
        _make_place(target, folder=stat.S_ISDIR(os.fstat(found).st_mode))
        mounts.bind(found, target, read_only=read_only)
    finally:
        os.close(found)


def open_sub_path(volume: Path, path: str) -> int:
    """Return a descriptor of what lies at `path` in the volume; missing folders are made with the volume's mode.

    Raises VolumeError when the path leads out, OSError.
    """
    root = os.open(volume, os.O_PATH | os.O_CLOEXEC)
    try:
        if path.strip("/") in {"", "."}:
            return os.dup(root)
        try:
            return _open(root, path, os.O_PATH)
        except FileNotFoundError:
            _make_folders(root, path)
            return _open(root, path, os.O_PATH)
    finally:
        os.close(root)


def _make_folders(root: int, path: str) -> None:
    mode = stat.S_IMODE(os.fstat(root).st_mode)
    here = os.dup(root)
    try:
        so_far = ""
        for part in (part for part in path.split("/") if part not in {"", "."}):
            so_far = f"{so_far}/{part}" if so_far else part
            try:
                following = _open(root, so_far, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=here)
                # Not by the path again, which may lead elsewhere by now, but what was made, if it is a folder still.
                following = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.fchmod(following, mode)
            os.close(here)
            here = following
    finally:
        os.close(here)


def _open(root: int, path: str, flags: int) -> int:
    try:
        return open_beneath(root, path, flags)
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.ELOOP}:
            raise VolumeError(f'subpath "{path}" not within volume path') from error
        raise


def _make_place(target: Path, *, folder: bool) -> None:
    """Make what is mounted upon: a folder for a folder, a file for anything else."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        if target.exists() and not target.is_dir():
            target.unlink()
        target.mkdir(exist_ok=True)
        return
    if target.is_dir():
        target.rmdir()
    target.touch()
