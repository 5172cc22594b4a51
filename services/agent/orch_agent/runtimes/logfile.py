"""Reads what a container wrote from the files of its log: `<time> <stdout|stderr> <F|P> <text>` a line.

F ends a line of the container, P is a part of a very long one. The log is the file that is written now and those
before it that are kept, `<name>.<something that grows>`; a file may have both kinds of name. Reading files rather than
asking the runtime keeps followers off its service and makes tail, since and follow exact.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from orch.clock import Clock, parse_rfc3339
from orch_agent.runtimes.protocol import STDERR, STDOUT, LogLine, LogQuery

_FOLLOW_INTERVAL: Final = 0.1
_CHUNK: Final = 256 << 10
_BLOCK: Final = 64 << 10
_HALF_MADE: Final = ".tmp"
"""How a runtime names the file that it is about to begin."""
_PART: Final = re.compile(rb" std(?:out|err) P ")


class Position(msgspec.Struct, frozen=True, gc=False):
    """A place in a log: a file, by its inode, and how many bytes of it were read as whole lines."""

    file: int
    offset: int


async def read_log(
    path: Path, query: LogQuery, clock: Clock, ended: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[Sequence[LogLine]]:
    """Yield the lines that `query` asks for, as many at a time as are read.

    With follow, go on until `ended()` says that nothing more will come.
    """
    log = LogReader(path)
    try:
        await asyncio.to_thread(log.skip_to, query.tail, query.since)
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


def files_of(path: Path) -> list[tuple[int, Path]]:
    """Return the files of a log with their inodes, each once, the oldest first."""
    found: dict[int, Path] = {}
    for each in (*sorted(path.parent.glob(f"{path.name}.*")), path):
        if each.suffix == _HALF_MADE:
            continue
        try:
            inode = each.stat().st_ino
        except FileNotFoundError:  # it was removed meanwhile, as the oldest is now and then
            continue
        found.pop(inode, None)
        found[inode] = each
    return list(found.items())


class LogReader:
    """A log that grows, and whose files are begun anew meanwhile: each is read to its end before the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = 0
        self._offset = 0
        self._rest = b""

    @property
    def position(self) -> Position:
        """Up to where whole lines were read."""
        return Position(self._inode, self._offset - len(self._rest))

    def read(self) -> list[LogLine]:
        """Return the next whole lines, none when there are no more now."""
        while data := self.read_bytes():
            if found := [line for line in map(_parse, data[:-1].split(b"\n")) if line is not None]:
                return found
        return []

    def read_bytes(self) -> bytes:
        """Return the next whole lines of one file as they are there, b"" when there are no more now."""
        while data := self._read_chunk():
            whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
            if newline:
                return whole + newline
        return b""

    def skip_to(self, tail: int | None, since: datetime | None) -> None:
        """Leave out, without reading them, parts that are neither among the last `tail` lines nor newer than `since`.

        More may be left in than was asked for.
        """
        files = files_of(self._path)
        if since is not None:
            files = [each for each in files if _written_at(each[1]) >= since.timestamp()]
        wanted = None if tail is None else tail + 1  # of the first one found, parts may be missing
        for inode, path in reversed(files):
            offset, lines = (0, 0) if wanted is None else _before_last(path, wanted)
            if offset or (inode, path) == files[0]:
                self.go(Position(inode, offset))
                return
            wanted = None if wanted is None else wanted - lines

    def go(self, position: Position) -> bool:
        """Go on from a place; False, and from the start of the log, if its file is not kept any more."""
        path = dict(files_of(self._path)).get(position.file)
        if path is None or not self._open(path):
            return False
        if self._file is not None:
            self._offset = self._file.seek(position.offset)
        return True

    def behind(self) -> int:
        """Return how many bytes of the log are there and were not read."""
        files = files_of(self._path)
        inodes = [inode for inode, _ in files]
        first = inodes.index(self._inode) if self._inode in inodes else 0
        total = sum(_size(path) for _, path in files[first:])
        return max(total - self.position.offset, 0) if self._inode in inodes else total

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_chunk(self) -> bytes:
        if self._file is None and not self._open_next():
            return b""
        while self._file is not None:
            following: Path | None = None
            data = self._file.read(_CHUNK)
            if not data and (following := self._following()) is not None:
                data = self._file.read(_CHUNK)  # written before the next one was begun
            if data:
                self._offset += len(data)
                return data
            if following is None or not self._open(following):
                break
        return b""

    def _open_next(self) -> bool:
        files = files_of(self._path)
        return bool(files) and self._open(files[0][1])

    def _following(self) -> Path | None:
        """Return the file that was begun after the one that is read, which is at its end."""
        files = files_of(self._path)
        for place, (inode, path) in enumerate(files):
            if inode == self._inode:
                if _size(path) < self._offset:  # emptied
                    return path
                return files[place + 1][1] if place + 1 < len(files) else None
        return files[0][1] if files else None

    def _open(self, path: Path) -> bool:
        try:
            opened = path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        self.close()
        self._file = opened
        self._inode = os.fstat(opened.fileno()).st_ino
        self._offset = 0
        self._rest = b""
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _before_last(path: Path, count: int) -> tuple[int, int]:
    """Return where the last `count` whole lines of a file begin, or 0, and how many there are from there on."""
    found = 0
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                begin = max(end - _BLOCK, 0)
                file.seek(begin)
                block = file.read(end - begin)
                # A part that the block's border hides is counted as a line: what `count` has to spare.
                found += block.count(b"\n") - len(_PART.findall(block))
                first = block.find(b"\n")
                if found > count and first >= 0:
                    return begin + first + 1, count
                end = begin
    except FileNotFoundError:
        return 0, 0
    return 0, found


def _last(log: LogReader, count: int, since: datetime | None) -> list[LogLine]:
    """Return the last `count` lines; parts of one line count as one. Leaves the log at its end."""
    kept: deque[list[LogLine]] = deque(maxlen=count) if count > 0 else deque(maxlen=0)
    for whole in _whole_lines(log):
        if since is None or parse_rfc3339(whole[0].time) >= since:
            kept.append(whole)
    return [line for whole in kept for line in whole]


def _whole_lines(log: LogReader) -> Iterator[list[LogLine]]:
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
