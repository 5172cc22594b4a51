"""Whose the files of a volume are: the pod's fsGroup and the modes that go with it (pkg/volume/volume_linux.go)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from orch.objects.pods import Pod

_WRITABLE: Final = 0o660
_READABLE: Final = 0o440
_PASSABLE: Final = 0o110

ON_ROOT_MISMATCH: Final = "OnRootMismatch"


def group_of(pod: Pod) -> int | None:
    """Return the group that owns the pod's volumes, None when they stay root's."""
    context = pod.spec.security_context
    return None if context is None else context.fs_group


def user_of(pod: Pod) -> int | None:
    """Return the user that all of the pod's containers are told to run as, None unless it is one (FsUserFrom)."""
    of_pod = None if pod.spec.security_context is None else pod.spec.security_context.run_as_user
    users = {
        of_pod
        if container.security_context is None or container.security_context.run_as_user is None
        else container.security_context.run_as_user
        for container in (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    }
    return users.pop() if len(users) == 1 else None


def mode_for_group(mode: int, *, folder: bool, read_only: bool) -> int:
    """Return a mode with what lets the group in; new files in a folder are to be the group's, too."""
    mode |= _READABLE if read_only else _WRITABLE
    return mode | _PASSABLE | stat.S_ISGID if folder else mode


def give_to_group(path: Path, group: int | None, *, read_only: bool = False, policy: str = "") -> None:
    """Give everything at and below `path` to the group. By the policy OnRootMismatch only if `path` itself is not.

    What is mounted below is given, too, as kubelet does; symbolic links are never followed. Raises OSError.
    """
    if group is None or (policy == ON_ROOT_MISMATCH and _matches(path, group, read_only=read_only)):
        return
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            _give(os.path.join(folder, name), group, read_only=read_only)  # noqa: PTH118 - as os.walk has it
        _give(folder, group, read_only=read_only)


def _give(path: str, group: int, *, read_only: bool) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:  # a running container may remove what it likes
        return
    os.chown(path, -1, group, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        return
    mode = stat.S_IMODE(found.st_mode)
    os.chmod(path, mode_for_group(mode, folder=stat.S_ISDIR(found.st_mode), read_only=read_only))  # noqa: PTH101


def _matches(path: Path, group: int, *, read_only: bool) -> bool:
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    return found.st_gid == group and mode == mode_for_group(mode, folder=True, read_only=read_only)
