"""What folders take of a disk (blocks, not lengths; a file with two names once), and what a file system has left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from orch_agent.stats.model import DiskUse, FileSystem

_BLOCK: Final = 512


def measure(folder: str) -> DiskUse:
    """Return what a folder and all below it take; nothing for one that is gone. Other file systems are not entered."""
    try:
        top = os.lstat(folder)
    except OSError:
        return DiskUse()
    blocks, inodes, linked = top.st_blocks, 1, set[int]()
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if found.st_dev != top.st_dev or (found.st_nlink > 1 and found.st_ino in linked):
                        continue
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if found.st_nlink > 1 and not is_folder:
                        linked.add(found.st_ino)
                    blocks += found.st_blocks
                    inodes += 1
                    if is_folder:
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return DiskUse(blocks * _BLOCK, inodes)


def file_system(folder: str | Path) -> FileSystem:
    """Return the file system that a folder is on; nothing of it when the folder is gone."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return FileSystem()
    return FileSystem(
        capacity=found.f_blocks * found.f_frsize,
        available=found.f_bavail * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
    )


def device_of(folder: str | Path) -> int:
    """Return the file system's number, 0 when the folder is gone."""
    try:
        return Path(folder).stat().st_dev
    except OSError:
        return 0
