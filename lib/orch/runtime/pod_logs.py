"""Reads what nodes have put on the bus of their containers' logs: the stream LOGS."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import LOGS, parse_log
from orch.errors import UnavailableError
from orch_pb.v1 import logs_pb2

_LOG: Final = logging.getLogger(__name__)
_LARGEST: Final = 4 << 20
"""Bytes of lines in a piece, at most; nodes send far less, and one that does not must not fill our memory."""


class LogOrigin(msgspec.Struct, frozen=True):
    """Whose log it is: one run of a container."""

    node: str
    namespace: str
    pod: str
    uid: str
    container: str
    attempt: int


class CollectedLine(msgspec.Struct, frozen=True, gc=False):
    """A line with its newline, or a part of a very long one without. `time` is RFC 3339 with nanoseconds."""

    origin: LogOrigin
    time: str
    stderr: bool
    data: bytes


async def collected_lines(bus: Bus, subject: str, *, timeout: float = 10) -> AsyncGenerator[list[CollectedLine]]:
    """Yield what was collected under `subject` (see orch.bus.subjects.logs_of_pods), some lines at a time.

    What was left out is said in a line of its own. Raises UnavailableError when the next of it does not come within
    `timeout` seconds.
    """
    seen: dict[tuple[LogOrigin, int], _Reached] = {}
    async with aclosing(bus.follow(LOGS.name, [subject])) as messages:
        while True:
            try:
                async with asyncio.timeout(timeout):
                    message = await anext(messages)
            except TimeoutError as error:
                raise UnavailableError(f"collected logs did not come within {timeout:g} s") from error
            if message is Signal.SYNCED:
                return
            if not isinstance(message, Message):
                continue
            try:
                origin = LogOrigin(*parse_log(message.subject))
                piece = logs_pb2.LogPiece.FromString(message.data)
                written = zlib.decompressobj().decompress(piece.lines, _LARGEST)
            except (ValueError, DecodeError, zlib.error) as error:
                # One node's mistake must not keep what others wrote from being read.
                _LOG.warning("%s is no piece of a log: %s", message.subject, error)
                continue
            reached = seen.setdefault((origin, piece.file), _Reached())
            if fresh := reached.what_is_new(piece.offset, written):
                yield _lines(origin, fresh, piece.dropped)


class _Reached:
    """Up to where a file of a log was seen: a node that was stopped in between sends the last of it again."""

    def __init__(self) -> None:
        self._end = 0
        self._time = b""

    def what_is_new(self, offset: int, written: bytes) -> bytes:
        begun = written.split(b" ", 1)[0]
        # Files are told apart by numbers that are used again, for files that are begun later.
        again = max(self._end - offset, 0) if begun <= self._time else 0
        fresh = written[again:]
        if fresh:
            self._end = offset + len(written)
            self._time = fresh[fresh[:-1].rfind(b"\n") + 1 :].split(b" ", 1)[0]
        return fresh


def _lines(origin: LogOrigin, written: bytes, dropped: int) -> list[CollectedLine]:
    found: list[CollectedLine] = []
    for line in written.split(b"\n")[:-1]:
        fields = line.split(b" ", 3)
        if len(fields) == 4:
            time, stream, tag, text = fields
            stamp = time.decode("ascii", "replace").replace("+00:00", "Z")
            found.append(CollectedLine(origin, stamp, stream == b"stderr", text + b"\n" if tag == b"F" else text))
    if dropped and found:
        note = f"[{dropped} bytes of this log were left out: they came faster than they are collected]\n"
        found.insert(0, CollectedLine(origin, found[0].time, True, note.encode()))
    return found
