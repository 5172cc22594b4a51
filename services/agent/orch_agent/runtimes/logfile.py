"""Reads the log file that conmon writes for a container: `<time> <stdout|stderr> <F|P> <text>` a line.

F ends a line of the container, P is a part of a very long one. Reading the file rather than asking Podman keeps
followers off its service and makes tail, since and follow exact.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from orch.clock import Clock, parse_rfc3339
from orch_agent.runtimes.protocol import STDERR, STDOUT, LogLine, LogQuery

_FOLLOW_INTERVAL: Final = 0.1
_CHUNK: Final = 256 << 10


async def read_log(
    path: Path, query: LogQuery, clock: Clock, ended: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[Sequence[LogLine]]:
    """Yield the lines that `query` asks for, as many at a time as are read.

    With follow, go on until `ended()` says that nothing more will come.
    """
    log = _LogFile(path)
    try:
        if query.tail is not None and (last := await asyncio.to_thread(_last, log, query.tail, query.since)):
            yield last
        while True:
            # Asked before the read: what is written up to the end is read after it.
            over = not query.follow or await ended()
            while lines := await asyncio.to_thread(log.read):
                if query.since is not None:
                    lines = [line for line in lines if parse_rfc3339(line.time) >= query.since]
                if lines:
                    yield lines
            if over:
                return
            await clock.sleep(_FOLLOW_INTERVAL)
    finally:
        log.close()


class _LogFile:
    """A growing file; when it is replaced by a new one (conmon's rotation), the new one is read from its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self) -> list[LogLine]:
        """Return the next whole lines, none when there are no more now."""
        data = self._read_chunk()
        if not data and self._was_replaced():
            self.close()
            data = self._read_chunk()
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return [line for line in map(_parse, lines) if line is not None]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._rest = b""

    def _read_chunk(self) -> bytes:
        if self._file is None:
            try:
                self._file = self._path.open("rb", buffering=0)
            except FileNotFoundError:
                return b""
        return self._file.read(_CHUNK) or b""

    def _was_replaced(self) -> bool:
        if self._file is None:
            return False
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        opened = os.fstat(self._file.fileno())
        return now.st_ino != opened.st_ino or now.st_size < self._file.tell()


def _last(log: _LogFile, count: int, since: datetime | None) -> list[LogLine]:
    """Return the last `count` lines; parts of one line count as one. Leaves the file at its end."""
    kept: deque[list[LogLine]] = deque(maxlen=count) if count > 0 else deque(maxlen=0)
    for whole in _whole_lines(log):
        if since is None or parse_rfc3339(whole[0].time) >= since:
            kept.append(whole)
    return [line for whole in kept for line in whole]


def _whole_lines(log: _LogFile) -> Iterator[list[LogLine]]:
    parts: list[LogLine] = []
    while lines := log.read():
        for line in lines:
            parts.append(line)
            if line.data.endswith(b"\n"):
                yield parts
                parts = []
    if parts:
        yield parts


def _parse(line: bytes) -> LogLine | None:
    """Return a line of the file; None for one that a crash cut off."""
    pieces = line.split(b" ", 3)
    if len(pieces) != 4:
        return None
    time, stream, tag, text = pieces
    data = text + b"\n" if tag == b"F" else text
    # conmon writes the offset of UTC in digits, and Kubernetes as Z.
    stamp = time.decode("ascii", "replace").replace("+00:00", "Z")
    return LogLine(stamp, STDERR if stream == b"stderr" else STDOUT, data)
