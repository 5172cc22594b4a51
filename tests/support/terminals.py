"""kubectl on a terminal of our own: what is typed, what is shown, and what it makes of another size."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from local_cluster import BIN
from space import Space


class Screen:
    """Our end of a terminal. What was read beyond that which a test waited for is kept for its next wait."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._unread = b""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read_until(self, wanted: bytes, timeout: float = 30) -> bytes:
        """Read until `wanted` has been shown; return all up to its end."""
        deadline = time.monotonic() + timeout
        while wanted not in self._unread:
            ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} was not shown: {self._unread!r}"
            self._unread += os.read(self._master, 65536)
        end = self._unread.index(wanted) + len(wanted)
        read, self._unread = self._unread[:end], self._unread[end:]
        return read


@contextmanager
def terminal(
    space: Space, *arguments: str, environ: Mapping[str, str] | None = None
) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    """Run kubectl on a terminal of 40 lines and 100 columns; yield our end of it."""
    master, slave = pty.openpty()
    screen = Screen(master)
    screen.resize(40, 100)
    process = subprocess.Popen(
        ["setsid", "--ctty", BIN / "kubectl", "-n", space.name, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, **space.cluster.environ, "TERM": "dumb", **(environ or {})},
    )
    os.close(slave)
    try:
        yield screen, process
    finally:
        process.kill()
        process.wait()
        os.close(master)
