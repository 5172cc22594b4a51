"""Takes messages out of the bytes of a connection and hands each to its listener, in the same turn of the loop.

nats-py's parser copies the rest of its buffer for each message, decodes all headers, and passes the message through a
queue and a task: about 60 µs, which at thousands of changes a second was most of what a watching service did. What is
not a message (INFO, PING, PONG, errors) is left to nats-py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Final

from nats.errors import ProtocolError
from nats.protocol.parser import Parser
from prometheus_client import Counter

from orch.bus.nats.received import Received

if TYPE_CHECKING:
    from nats.aio.client import Client

_log = logging.getLogger(__name__)

_FAILED: Final = Counter("orch_bus_listener_failures_total", "Messages whose listener raised an error.")

_LONGEST_LINE: Final = 1 << 16
"""Bytes of a line of the protocol; INFO is the longest."""
_WITH_HEAD: Final = ord("H")
_WITHOUT: Final = ord("M")
_END: Final = b"\r\n"

Deliver = Callable[[Received], None]


class Reader(Parser):
    """The parser of one connection. `listeners` are found by the number of their subscription."""

    def __init__(self, client: Client, listeners: MutableMapping[int, Deliver]) -> None:
        super().__init__(client)  # pyright: ignore[reportUnknownMemberType] - nats-py leaves it untyped
        self._listeners = listeners
        self.heard = 0
        """How often something was read."""

    def reset(self) -> None:
        """Forget what was read in part."""
        super().reset()
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = 0

    async def parse(self, data: bytes = b"") -> None:
        """Deliver every message that `data` completes. Raises ProtocolError."""
        self.heard += 1
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return
        buffer = data if len(self._parts) == 1 else b"".join(self._parts)
        at, size = 0, len(buffer)
        self._needed = 0
        while at < size:
            end = buffer.find(_END, at)
            if end < 0:
                if size - at > _LONGEST_LINE:
                    raise ProtocolError
                break
            first = buffer[at]
            if first not in (_WITH_HEAD, _WITHOUT):
                await super().parse(buffer[at : end + 2])
                at = end + 2
                continue
            after = self._message(buffer, at, end, with_head=first == _WITH_HEAD)
            if after > size:
                self._needed = after - at
                break
            at = after
        self._parts = [buffer[at:]] if at < size else []
        self._held = size - at

    def _message(self, buffer: bytes, at: int, end: int, *, with_head: bool) -> int:
        """Deliver the message that begins at `at`, if it is whole; return where the next one begins.

        Its line is "MSG subject number [reply] size" or "HMSG subject number [reply] size-of-headers size".
        """
        words = buffer[at:end].split()
        optional = 5 if with_head else 4
        try:
            number, whole = int(words[2]), int(words[-1])
            head = int(words[-2]) if with_head else 0
        except (ValueError, IndexError) as error:
            raise ProtocolError from error
        start = end + 2
        after = start + whole + 2
        if after > len(buffer):
            return after
        deliver = self._listeners.get(number)
        if deliver is not None:
            body = start + head
            reply = words[3].decode() if len(words) > optional else ""
            received = Received(words[1].decode(), reply, buffer[start:body], buffer[body : after - 2])
            try:
                deliver(received)
            except Exception:  # noqa: BLE001 - one listener's fault must not end the connection; logged and counted
                _FAILED.inc()
                _log.exception("The listener of a message on %s failed", received.subject)
        return after
