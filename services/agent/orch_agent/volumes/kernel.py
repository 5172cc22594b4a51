"""The kernel's calls about mounts and confined paths that Python's standard library does not have.

The numbers are those that every architecture has shared since they were added: openat2 in Linux 5.6, mount_setattr in
5.12.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SHARED: Final = 1 << 20

_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_OPENAT2: Final = 437
_MOUNT_SETATTR: Final = 442
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_BENEATH: Final = 0x08
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY: Final = 0x01

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, as the system call of that name does. Raises OSError."""
    arguments = (source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), data.encode())
    _check(_libc.mount(*arguments), target)


def unmount(target: Path) -> None:
    """Unmount what was mounted last at `target`; what still uses it loses it when it lets go. Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW), target)


def make_read_only(target: Path) -> None:
    """Make a mount and all mounts below it read-only. Raises OSError."""
    attributes = _MountAttributes(attr_set=_MOUNT_ATTR_RDONLY)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    call, flags = ctypes.c_long(_MOUNT_SETATTR), ctypes.c_uint(_AT_RECURSIVE)
    _check(_libc.syscall(call, _AT_FDCWD, os.fsencode(target), flags, ctypes.byref(attributes), size), target)


def open_beneath(folder: int, path: str, flags: int) -> int:
    """Open `path` below an open folder and return its descriptor.

    Symbolic links are followed as long as they stay below the folder, whoever changes them meanwhile: the kernel
    resolves the whole path in one call, and answers EXDEV for one that leads out. Raises OSError.
    """
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=0, resolve=_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return _check(_libc.syscall(ctypes.c_long(_OPENAT2), folder, os.fsencode(path), ctypes.byref(how), size), path)


def _check(result: int, path: Path | str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return result
