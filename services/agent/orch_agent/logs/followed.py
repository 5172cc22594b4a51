"""One container's log while it is collected: from its files, or of a runtime that has none from what it remembers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol

import msgspec

from orch_agent.runtimes.logfile import LogReader, Position
from orch_agent.runtimes.protocol import STDERR, LogQuery, Runtime

_KEPT_OF_THE_END: Final = 1000
"""Lines of a log that is written too fast which are collected nevertheless."""


class Chunk(msgspec.Struct, frozen=True):
    """Whole lines, and where in the log they begin. `dropped`: bytes before them that were left out."""

    lines: bytes
    position: Position
    dropped: int = 0


class Followed(Protocol):
    """A log that is read on and on."""

    def changed(self) -> bool:
        """Whether there may be something to read. Blocks no longer than it takes to look at a file."""
        ...

    async def read(self, most_behind: int) -> Chunk | None:
        """Return what comes next, None when there is nothing more now; it leaves out what it is too far behind."""
        ...

    def go(self, position: Position) -> None:
        """Go on from there."""
        ...

    @property
    def position(self) -> Position:
        """Up to where it was read."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class FollowedFile:
    """A log on the disk. What is removed meanwhile is read to its end as long as it is held open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = LogReader(path)
        self._seen: tuple[int, int] | None = None
        self._looked: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Whether the file is another or longer than when all of it was read."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        self._looked = (now.st_ino, now.st_size)
        return self._looked != self._seen

    async def read(self, most_behind: int) -> Chunk | None:
        """Return whole lines of one file; it is read in a thread."""
        return await asyncio.to_thread(self._read, most_behind)

    def go(self, position: Position) -> None:
        """Go on from there, or from the start if that is not kept any more."""
        if not self._reader.go(position):
            self._reader.close()
            self._reader = LogReader(self._path)
        self._seen = None

    @property
    def position(self) -> Position:
        """Up to where it was read."""
        return self._reader.position

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _read(self, most_behind: int) -> Chunk | None:
        dropped = 0
        behind = self._behind()
        if behind > most_behind:
            self._reader.skip_to(_KEPT_OF_THE_END, None)
            dropped = max(behind - self._reader.behind(), 0)
        lines = self._reader.read_bytes()
        if not lines:
            self._seen = self._looked
            return None
        after = self._reader.position
        if (after.file, after.offset) == self._looked:  # that was all of it: there is no need to look for more
            self._seen = self._looked
        return Chunk(lines, Position(after.file, after.offset - len(lines)), dropped)

    def _behind(self) -> int:
        """Return how many bytes are to be read; to look for former files takes longer than to read a line."""
        place = self._reader.position
        if self._looked is not None and self._looked[0] == place.file:
            return self._looked[1] - place.offset
        return self._reader.behind()


class FollowedMemory:
    """What a runtime without files remembers."""

    def __init__(self, runtime: Runtime, container: str) -> None:
        self._runtime = runtime
        self._container = container
        self._reached = 0

    def changed(self) -> bool:
        """Return True: only reading tells."""
        return True

    async def read(self, most_behind: int) -> Chunk | None:
        """Return all that came since; nothing that is in memory is too much."""
        del most_behind
        async with aclosing(self._runtime.logs(self._container, LogQuery())) as batches:
            lines = [_written(line.time, line.stream, line.data) async for batch in batches for line in batch]
        fresh = b"".join(lines)[self._reached :]
        if not fresh:
            return None
        begin, self._reached = self.position, self._reached + len(fresh)
        return Chunk(fresh, begin)

    def go(self, position: Position) -> None:
        """Go on from there."""
        self._reached = position.offset

    @property
    def position(self) -> Position:
        """How many bytes were read, were they in a file."""
        return Position(0, self._reached)

    def close(self) -> None:
        """Do nothing: there are no files."""


def _written(time: str, stream: int, data: bytes) -> bytes:
    """Return a line as runtimes write it into files."""
    whole = data.endswith(b"\n")
    head = f"{time} {'stderr' if stream == STDERR else 'stdout'} {'F' if whole else 'P'} "
    return head.encode() + (data if whole else data + b"\n")
