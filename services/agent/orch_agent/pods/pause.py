"""The first process of a pod whose containers share their processes: it reaps orphans, and is otherwise nothing.

Containers of the pod may be allowed to trace it, and through /proc/1/root and what they make it do they reach whatever
it has. So it has nothing: a root folder of its own that holds the program alone, the pod's network and IPC, no
privileges, and no way to gain any. A program that can run there must need no library; it is small enough to be said
here, as its machine's instructions.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orch.errors import OrchError
from orch_agent.volumes.kernel import MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, mount

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWCGROUP: Final = 0x0200_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000
_NO_NEW_PRIVILEGES: Final = 38
_DETACH: Final = 2
_NOBODY: Final = 65535
_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56
_IGNORED: Final = struct.pack("<QQQQ", 1, 0, 0, 0)
"""What sigaction takes to have children that end leave nothing behind: SIG_IGN, no flags, no mask."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Machine:
    """How a machine is named in an ELF header, and the program in its instructions; `_IGNORED` comes after them.

    `pivot_root`, `setgroups`, `setresgid` and `setresuid` are the numbers of these calls of its kernel.
    """

    def __init__(
        self, number: int, code: str, *, pivot_root: int, setgroups: int, setresgid: int, setresuid: int
    ) -> None:
        self.number = number
        self.code = bytes.fromhex(code)
        self.pivot_root = pivot_root
        self.setgroups = setgroups
        self.setresgid = setresgid
        self.setresuid = setresuid


_MACHINES: Final[Mapping[str, _Machine]] = {
    "x86_64": _Machine(
        62,
        "bf11000000"  # mov edi, 17               SIGCHLD
        "488d3518000000"  # lea rsi, [rip + 24]   the action
        "31d2"  # xor edx, edx
        "41ba08000000"  # mov r10d, 8             the mask's size
        "b80d000000"  # mov eax, 13               rt_sigaction
        "0f05"  # syscall
        "b822000000"  # mov eax, 34               pause
        "0f05"  # syscall
        "ebf7",  # jmp                            and again
        pivot_root=155,
        setgroups=116,
        setresgid=119,
        setresuid=117,
    ),
    "aarch64": _Machine(
        183,
        "200280d2"  # mov x0, 17                  SIGCHLD
        "81010010"  # adr x1, 48                  the action
        "020080d2"  # mov x2, 0
        "030180d2"  # mov x3, 8                   the mask's size
        "c81080d2"  # mov x8, 134                 rt_sigaction
        "010000d4"  # svc 0
        "000080d2"  # mov x0, 0
        "010080d2"  # mov x1, 0
        "020080d2"  # mov x2, 0
        "030080d2"  # mov x3, 0
        "280980d2"  # mov x8, 73                  ppoll, of nothing
        "010000d4"  # svc 0
        "faffff17",  # b                          and again
        pivot_root=41,
        setgroups=159,
        setresgid=149,
        setresuid=147,
    ),
}


class PauseError(OrchError):
    """A pod's first process cannot be had."""


def program(machine: str) -> bytes:
    """Return the program as an ELF file. Raises PauseError for a machine whose instructions are not known here."""
    known = _known(machine)
    content = known.code + _IGNORED
    size = _HEADERS + len(content)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,  # an executable
        known.number,
        1,
        _BASE + _HEADERS,
        64,
        0,
        0,
        64,
        56,
        1,
        0,
        0,
        0,
    )
    # One segment, to be read and executed: the whole file.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + content


def _known(machine: str) -> _Machine:
    found = _MACHINES.get(machine)
    if found is None:
        raise PauseError(f"processes cannot be shared on a machine of type {machine}")
    return found


def start(root: Path, network: str, ipc: str) -> int:
    """Start the process and return its id. `root` is an empty folder; `network` and `ipc` are namespaces, or "".

    To be called in a thread that ends: it leaves the thread in the pod's namespaces, without a root and without rights.
    Raises OSError and PauseError.
    """
    kernel = _known(platform.machine())
    content = program(platform.machine())
    for path, kind in ((network, CLONE_NEWNET), (ipc, CLONE_NEWIPC)):
        if path:
            enter(path, kind)
    call(_libc.unshare, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWPID)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        mount("pause", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k")
        file = root / "pause"
        file.write_bytes(content)
        file.chmod(0o755)
        mount("none", root, flags=MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
        os.chdir(root)
        # The old root is mounted over the new one, which is below it again once it is taken away.
        call(_libc.syscall, kernel.pivot_root, ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
        call(_libc.umount2, ctypes.c_char_p(b"."), _DETACH)
        call(_libc.prctl, _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _become_nobody(kernel)
        process = subprocess.Popen(
            ("/pause",),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            env={},
            start_new_session=True,
        )
    finally:
        os.close(nothing)
    # It shall outlive this process: whoever finds it is not its parent, and this is no error here either.
    process.returncode = 0
    return process.pid


def _become_nobody(kernel: _Machine) -> None:
    """Give up this thread's rights, and its alone: the C library's calls would be all threads'.

    Were the new process to do it, it would be made by fork, before and after which other libraries' handlers run here.
    Those of gRPC start threads; in a thread whose processes get a namespace of their own that ends this process.
    """
    call(_libc.syscall, kernel.setgroups, 0, None)
    call(_libc.syscall, kernel.setresgid, _NOBODY, _NOBODY, _NOBODY)
    call(_libc.syscall, kernel.setresuid, _NOBODY, _NOBODY, _NOBODY)


def enter(namespace: str, kind: int) -> None:
    """Move this thread into a namespace, a path. Raises OSError."""
    entrance = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        call(_libc.setns, entrance, kind)
    finally:
        os.close(entrance)


def unshare(kinds: int) -> None:
    """Move this thread into namespaces of its own. Raises OSError."""
    call(_libc.unshare, kinds)


def call(function: Callable[..., int], *arguments: object) -> None:
    """Make a call of the C library that answers 0 when it did what it should. Raises OSError."""
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
