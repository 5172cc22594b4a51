"""How long a request may take: a minute, or less when the client says so; what takes longer is ended with 504.

Ending is cancelling. That leaves nothing half done: a write that still waits for its commit is withdrawn, one whose
commit is under way is committed or not by the store alone, and the client is told only that it does not know. What a
write claimed of a shared pool without an object to show for it is released by the pool's repair, as after a crash.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from orch import errors
from orch.errors import BadRequestError, StatusDetails
from orch_api.http.request import text

REQUEST_TIMEOUT: Final = 60.0

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM: Final = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*")


class TimeLimitError(errors.TimeoutError):
    """The request was not finished within its time."""

    def __init__(self) -> None:
        super().__init__("Timeout: request did not complete within the allotted timeout", StatusDetails())


def timeout_of(query: Mapping[str, list[str]]) -> float:
    """Return how long a request may take, in seconds, as its parameter `timeout` says: 0 and too much are the most.

    Raises BadRequestError.
    """
    value = text(query, "timeout")
    if not value:
        return REQUEST_TIMEOUT
    try:
        seconds = go_duration(value)
    except ValueError as error:
        raise BadRequestError(f"invalid timeout specified in the request URL - {error}") from error
    return seconds if 0 < seconds < REQUEST_TIMEOUT else REQUEST_TIMEOUT


def go_duration(value: str) -> float:
    """Return the seconds of a duration as Go writes it: "1m30s", "250ms". Raises ValueError in Go's words."""
    rest = value[1:] if value[:1] in {"+", "-"} else value
    if rest == "0":
        return 0.0
    seconds, place = 0.0, 0
    while place < len(rest):
        term = _TERM.match(rest, place)
        if term is None:
            raise ValueError(f"time: invalid duration {_quoted(value)}")
        number, unit = term.groups()
        if not unit:
            raise ValueError(f"time: missing unit in duration {_quoted(value)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {_quoted(unit)} in duration {_quoted(value)}")
        seconds += float(number) * _UNITS[unit]
        place = term.end()
    if not place or seconds > 2**63 / 1e9:
        raise ValueError(f"time: invalid duration {_quoted(value)}")
    return -seconds if value[0] == "-" else seconds


def _quoted(value: str) -> str:
    """Return a text as Go's time package quotes it: what is not plain ASCII is escaped byte by byte."""
    if _PLAIN.fullmatch(value):
        return f'"{value}"'
    escaped = (chr(byte) if _PLAIN.fullmatch(chr(byte)) else _escape(byte) for byte in value.encode())
    return f'"{"".join(escaped)}"'


def _escape(byte: int) -> str:
    return f"\\{chr(byte)}" if byte in b'"\\' else f"\\x{byte:02x}"


class Deadlines:
    """The deadlines of the requests under way, by the tasks that serve them.

    Nearly all requests have the same time and end long before it, so they stand in one row in the order of their
    beginning, and one timer looks at the first of them; it may be late by a second. A shorter time has its own timer.
    """

    def __init__(self, longest: float = REQUEST_TIMEOUT, lateness: float = 1.0) -> None:
        self._longest = longest
        self._lateness = lateness
        self._row: dict[asyncio.Task[Any], float] = {}
        self._short: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, timeout: float) -> asyncio.Task[Any]:
        """Set the deadline of the current task and return it; each is followed by `end`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline is a task's")
        if timeout < self._longest:
            self._short[task] = loop.call_later(timeout, self._expire, task)
            return task
        self._row[task] = at = loop.time() + timeout
        if self._alarm is None:
            self._alarm = loop.call_at(at + self._lateness, self._look)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Forget a deadline. When it has expired, take the cancellation back: raises TimeLimitError in its stead."""
        if self._row.pop(task, None) is None and (alarm := self._short.pop(task, None)) is not None:
            alarm.cancel()
        if task in self._expired:
            self._expired.discard(task)
            task.uncancel()
            raise TimeLimitError

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._expired.add(task)
        task.cancel()

    def _look(self) -> None:
        self._alarm = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task, at in list(self._row.items()):
            if at > now:
                self._alarm = loop.call_at(at + self._lateness, self._look)
                return
            del self._row[task]
            self._expire(task)
