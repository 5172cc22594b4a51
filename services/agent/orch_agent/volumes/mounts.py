"""What is mounted on the node for volumes. `SystemMounts` asks the kernel; everything else goes through `Mounts`."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from orch_agent.volumes import kernel
from orch_agent.volumes.protocol import VolumeError

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_ESCAPES: Final = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


class Mounts(Protocol):
    """Mounts of this machine. Methods block; they raise OSError."""

    def below(self, folder: Path) -> list[Path]:
        """Return where something is mounted at or below `folder`, in the order in which it was mounted."""
        ...

    def tmpfs(self, target: Path, *, size: int = 0, mode: int = 0o755) -> None:
        """Mount a file system in memory, of at most `size` bytes (0: half of the memory), which no swap space sees."""
        ...

    def huge_pages(self, target: Path, page_size: int) -> None:
        """Mount a file system of huge pages of that many bytes."""
        ...

    def overlay(self, target: Path, layers: Sequence[str]) -> None:
        """Mount folders one upon another, the topmost first; read-only, and nothing in it can be executed."""
        ...

    def bind(self, source: int, target: Path, *, read_only: bool = False) -> None:
        """Show what the open descriptor `source` is, with all that is mounted below it, at `target`."""
        ...

    def share(self, target: Path) -> None:
        """Let what is mounted below `target` be seen where `target` is mounted, and the other way round."""
        ...

    def unmount(self, target: Path) -> None:
        """Take away what was mounted last at `target`."""
        ...


class SystemMounts:
    """Mounts by the kernel, in the name space of this process, which is the node's and its Podman's."""

    def below(self, folder: Path) -> list[Path]:
        """Read the kernel's list."""
        paths = (Path(_plain(line.split(" ", 5)[4])) for line in _MOUNTINFO.read_text().splitlines())
        return [path for path in paths if path.is_relative_to(folder)]

    def tmpfs(self, target: Path, *, size: int = 0, mode: int = 0o755) -> None:
        """Mount a tmpfs, privately. Kernels before 6.4 do not know how to keep one out of the swap space."""
        options = f"mode={mode:o}" + (f",size={size}" if size else "")
        try:
            kernel.mount("tmpfs", target, "tmpfs", 0, f"{options},noswap")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            kernel.mount("tmpfs", target, "tmpfs", 0, options)
        kernel.mount("", target, "", kernel.MS_PRIVATE)

    def huge_pages(self, target: Path, page_size: int) -> None:
        """Mount a hugetlbfs."""
        kernel.mount("nodev", target, "hugetlbfs", 0, f"pagesize={page_size}")

    def overlay(self, target: Path, layers: Sequence[str]) -> None:
        """Mount an overlay without an upper layer. One layer is too few: `target`, which is empty, is a second."""
        flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        with contextlib.ExitStack() as stack:
            opened: list[int] = []
            for layer in (*layers, target) if len(layers) == 1 else layers:
                opened.append(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
            # Descriptors are short: the kernel takes a page of options, and images have many layers with long paths.
            lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
            kernel.mount("overlay", target, "overlay", flags, f"lowerdir={lower}")

    def bind(self, source: int, target: Path, *, read_only: bool = False) -> None:
        """Bind by descriptor: the path of what was checked may be another thing by now."""
        kernel.mount(f"/proc/self/fd/{source}", target, "", kernel.MS_BIND | kernel.MS_REC)
        if read_only:
            kernel.make_read_only(target)

    def share(self, target: Path) -> None:
        """Make the mount at `target` shared."""
        kernel.mount("", target, "", kernel.MS_SHARED)

    def unmount(self, target: Path) -> None:
        """Unmount lazily: containers that used it are gone or about to be."""
        kernel.unmount(target)


def clear(mounts: Mounts, folder: Path) -> None:
    """Unmount everything at and below `folder`. Raises VolumeError when something stays mounted, OSError."""
    for path in reversed(mounts.below(folder)):
        mounts.unmount(path)
    left = mounts.below(folder)
    if left:
        raise VolumeError(f"{left[0]} is still mounted")


def remove_tree(mounts: Mounts, folder: Path) -> None:
    """Remove a folder after everything below it was unmounted: what a volume only shows must outlive it.

    Raises VolumeError when something stays mounted or a file cannot be removed.
    """
    if not os.path.lexists(folder):
        return
    try:
        clear(mounts, folder)
        shutil.rmtree(folder)
    except FileNotFoundError as error:
        raise VolumeError(f"{folder} changes while it is removed: {error}") from error
    except OSError as error:
        raise VolumeError(f"{folder} cannot be removed: {error}") from error


def _plain(path: str) -> str:
    """Return a path of mountinfo, where some characters are written in octal."""
    if "\\" in path:
        for escaped, character in _ESCAPES:
            path = path.replace(escaped, character)
    return path
