"""Runs the handlers of requests: a bounded number at a time, further ones waiting in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import Counter, Histogram

from orch.bus.protocol import Handler, Message
from orch.errors import OrchError

_log = logging.getLogger(__name__)

_HANDLED: Final = Histogram(
    "orch_bus_handled_seconds", "Time from a request's arrival to its answer, by its subject's last token.", ["verb"]
)
_REFUSED: Final = Counter(
    "orch_bus_refused_total", "Requests refused because too many were waiting, by their subject's last token.", ["verb"]
)

WAITING_LIMIT: Final = 16384
"""Requests that may wait for a handler; more are refused at once, for their senders will have given up anyway."""

DRAIN_TIMEOUT: Final = 10.0
"""How long a server that stops waits for its handlers, in seconds."""

Respond = Callable[[Message, bytes, str], Awaitable[None]]
"""Sends the answer to a request: its data, or why there is none."""


class RequestPool:
    """Answers requests through `handler`, at most `in_flight` at a time. Its exceptions are logged and answered."""

    def __init__(self, subject: str, handler: Handler, in_flight: int, respond: Respond) -> None:
        self._subject = subject
        self._handler = handler
        self._in_flight = in_flight
        self._respond = respond
        self._verb = subject.rsplit(".", 1)[-1]
        self._waiting: deque[tuple[float, Message]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.errors = 0
        self.last_error = ""
        self.seconds = 0.0

    def accept(self, message: Message) -> None:
        """Take a request; never waits."""
        if len(self._waiting) >= WAITING_LIMIT:
            _REFUSED.labels(self._verb).inc()
            return
        self._waiting.append((time.perf_counter(), message))
        if len(self._tasks) < self._in_flight:
            task = asyncio.get_running_loop().create_task(self._work(), name=f"serve {self._subject}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Return when every request that was taken is answered, or given up after DRAIN_TIMEOUT seconds."""
        deadline = asyncio.get_running_loop().time() + DRAIN_TIMEOUT
        while self._tasks:
            left = deadline - asyncio.get_running_loop().time()
            _, unfinished = await asyncio.wait(self._tasks, timeout=max(left, 0))
            if unfinished and left <= 0:
                _log.warning("Gave up %d requests on %s that are not answered", len(unfinished), self._subject)
                self._waiting.clear()
                for task in unfinished:
                    task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            arrived, message = self._waiting.popleft()
            answer, problem = b"", ""
            try:
                answer = await self._handler(message)
            except Exception as error:  # noqa: BLE001 - the caller must hear of any failure; nothing is hidden
                _log.exception("The handler of %s failed", message.subject)
                problem = str(error) or type(error).__name__
                self.errors += 1
                self.last_error = problem
            try:
                await self._respond(message, answer, problem)
            except OrchError as error:
                _log.warning("The answer to a request on %s was not sent: %s", message.subject, error)
            spent = time.perf_counter() - arrived
            self.requests += 1
            self.seconds += spent
            _HANDLED.labels(self._verb).observe(spent)
