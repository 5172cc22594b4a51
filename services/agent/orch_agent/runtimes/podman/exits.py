"""Sees that a container has ended as soon as its monitor says so.

Podman's own event comes from a process of its own that cleans up after the container, hundreds of milliseconds later
on a busy machine. The monitor writes a file with the exit code before that, and Podman believes it when it is asked.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLOSED_AFTER_WRITING: Final = 0x8
_MOVED_HERE: Final = 0x80
_HEADER: Final = struct.Struct("iIII")
_BUFFER: Final = 64 << 10


@contextmanager
def watching(folder: Path, ended: Callable[[str], None]) -> Generator[None]:
    """Call `ended` with the id of each container that ends; never when the folder cannot be watched."""
    watched = _watch(folder)
    if watched is None:
        yield
        return

    def read() -> None:
        for name in _names(os.read(watched, _BUFFER)):
            ended(name)

    loop = asyncio.get_running_loop()
    loop.add_reader(watched, read)
    try:
        yield
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def _watch(folder: Path) -> int | None:
    """Return a descriptor that tells of files that come into a folder, which is made if it is not there yet."""
    try:
        folder.mkdir(mode=0o751, parents=True, exist_ok=True)
    except OSError as error:
        _LOG.warning("%s is not watched, ends of containers are seen by events alone: %s", folder, error)
        return None
    made: int = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if made < 0 or _LIBC.inotify_add_watch(made, os.fsencode(folder), _CLOSED_AFTER_WRITING | _MOVED_HERE) < 0:
        reason = os.strerror(ctypes.get_errno())
        _LOG.warning("%s is not watched, ends of containers are seen by events alone: %s", folder, reason)
        if made >= 0:
            os.close(made)
        return None
    return made


def _names(data: bytes) -> Iterator[str]:
    """Yield the names of files that the kernel tells of."""
    place = 0
    while place + _HEADER.size <= len(data):
        _, _, _, length = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        yield os.fsdecode(data[place : place + length].rstrip(b"\0"))
        place += length
