"""The streams and work queues of the in-memory broker: JetStream's semantics without its server."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import OrderedDict
from functools import lru_cache
from typing import Final

import msgspec

from orch.bus.patterns import matches, matches_any
from orch.bus.protocol import Message, StreamSpec
from orch.clock import Clock
from orch.errors import BusError, StaleWriterError

_REMEMBERED: Final = 1 << 16
_wanted = lru_cache(_REMEMBERED)(matches_any)
"""Every follower of a stream asks about every message, and mostly about subjects that came before."""


class Bell:
    """Wakes everyone who waits. Take the future first, look second, wait third: then no ring is missed."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def next_ring(self) -> asyncio.Future[None]:
        """Return a future that is done at the next ring."""
        if self._future is None or self._future.done():
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    def ring(self) -> None:
        """Wake everyone."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class _Stored(msgspec.Struct, frozen=True, gc=False):
    message: Message
    stored: float
    size: int


class MemoryStream:
    """A stream's messages, with the limits, the de-duplication and the expiry that its StreamSpec asks for."""

    def __init__(self, spec: StreamSpec, clock: Clock) -> None:
        self.spec = spec
        self.bell = Bell()
        self.works: dict[str, MemoryWork] = {}
        self.last_sequence = 0
        self._clock = clock
        self._messages: dict[int, _Stored] = {}
        self._by_subject: dict[str, dict[int, None]] = {}
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._expiring: list[tuple[float, int]] = []
        self._bytes = 0
        self._last_id = ""

    def takes(self, subject: str) -> bool:
        """Whether messages on `subject` go into this stream."""
        return matches_any(self.spec.subjects, subject)

    def append(
        self, subject: str, data: bytes, *, message_id: str = "", previous_id: str | None = None, ttl: float = 0
    ) -> int:
        """Store a message and return its sequence; see Bus.send."""
        self.expire()
        if ttl and not self.spec.message_ttl:
            raise BusError(f"stream {self.spec.name} takes no ttl: its setting message_ttl is off")
        if message_id and message_id in self._seen:
            return self._seen[message_id][0]
        if previous_id is not None and previous_id not in self._acceptable_previous():
            raise StaleWriterError(f"the last message of stream {self.spec.name} is not {previous_id or '(none)'!r}")
        size = len(subject) + len(data)
        self._make_room(subject, size)
        now = self._clock.monotonic()
        self.last_sequence += 1
        message = Message(subject=subject, data=data, sequence=self.last_sequence, message_id=message_id)
        self._messages[self.last_sequence] = _Stored(message, now, size)
        self._by_subject.setdefault(subject, {})[self.last_sequence] = None
        self._bytes += size
        self._last_id = message_id
        if message_id and self.spec.duplicate_window:
            self._seen[message_id] = (self.last_sequence, now)
        if ttl:
            heapq.heappush(self._expiring, (now + math.ceil(ttl), self.last_sequence))
        self.bell.ring()
        return self.last_sequence

    def newest(self, patterns: tuple[str, ...]) -> list[Message]:
        """Return the newest message of each matching subject, in stream order."""
        self.expire()
        found = [
            self._messages[next(reversed(sequences))].message
            for subject, sequences in self._by_subject.items()
            if _wanted(patterns, subject)
        ]
        return sorted(found, key=lambda message: message.sequence)

    def at_or_after(self, sequence: int, patterns: tuple[str, ...]) -> Message | None:
        """Return the first matching message from `sequence` on."""
        self.expire()
        for candidate in range(sequence, self.last_sequence + 1):
            stored = self._messages.get(candidate)
            if stored is not None and _wanted(patterns, stored.message.subject):
                return stored.message
        return None

    def get(self, sequence: int) -> Message | None:
        """Return the message with that sequence, if it is still there."""
        self.expire()
        stored = self._messages.get(sequence)
        return stored.message if stored is not None else None

    def last(self) -> Message | None:
        """Return the newest message."""
        self.expire()
        if not self._messages:
            return None
        return self._messages[next(reversed(self._messages))].message

    def purge(self, pattern: str = "") -> None:
        """Remove all messages, or those of matching subjects."""
        doomed = [s for s, kept in self._messages.items() if not pattern or matches(pattern, kept.message.subject)]
        for sequence in doomed:
            self.remove(sequence)

    def remove(self, sequence: int) -> None:
        """Remove one message, if it is there."""
        stored = self._messages.pop(sequence, None)
        if stored is None:
            return
        self._bytes -= stored.size
        sequences = self._by_subject[stored.message.subject]
        del sequences[sequence]
        if not sequences:
            del self._by_subject[stored.message.subject]

    def expire(self) -> None:
        """Remove what is past its time."""
        now = self._clock.monotonic()
        while self._expiring and self._expiring[0][0] <= now:
            self.remove(heapq.heappop(self._expiring)[1])
        if self.spec.max_age:
            while self._messages:
                oldest = next(iter(self._messages))
                if self._messages[oldest].stored + self.spec.max_age > now:
                    break
                self.remove(oldest)
        while self._seen:
            message_id, (_, stored) = next(iter(self._seen.items()))
            if stored + self.spec.duplicate_window > now:
                break
            del self._seen[message_id]

    def _acceptable_previous(self) -> set[str]:
        """Return the ids that a writer may name as the last: the last one stored, and the newest that is still here."""
        newest = self.last()
        return {newest.message_id, self._last_id} if newest is not None else {"", self._last_id}

    def _make_room(self, subject: str, size: int) -> None:
        spec = self.spec
        if spec.retention == "workqueue":
            self._refuse_when_full(size)
        sequences = self._by_subject.get(subject, {})
        while spec.max_per_subject and len(sequences) >= spec.max_per_subject:
            self.remove(next(iter(sequences)))
        while self._messages and (
            (spec.max_messages and len(self._messages) >= spec.max_messages)
            or (spec.max_bytes and self._bytes + size > spec.max_bytes)
        ):
            self.remove(next(iter(self._messages)))

    def _refuse_when_full(self, size: int) -> None:
        """Refuse rather than forget: what waits in a work queue is work that someone was promised."""
        spec = self.spec
        if spec.max_messages and len(self._messages) >= spec.max_messages:
            raise BusError(f"stream {spec.name} is full: {spec.max_messages} messages are waiting")
        if spec.max_bytes and self._bytes + size > spec.max_bytes:
            raise BusError(f"stream {spec.name} is full: {self._bytes} of {spec.max_bytes} bytes are taken")


class MemoryWork:
    """Who works on which message of a work queue, shared by all consumers of one name."""

    def __init__(self, stream: MemoryStream, clock: Clock) -> None:
        self.bell = Bell()
        self._stream = stream
        self._clock = clock
        self._next = 1
        self._due: dict[int, float] = {}

    def take(self, ack_wait: float) -> Message | None:
        """Return the next message to work on: one whose time is up again, else a new one."""
        now = self._clock.monotonic()
        for sequence in sorted(s for s, due in self._due.items() if due <= now):
            message = self._stream.get(sequence)
            if message is not None:
                self._due[sequence] = now + ack_wait
                return message
            del self._due[sequence]
        message = self._stream.at_or_after(self._next, (">",))
        if message is not None:
            self._next = message.sequence + 1
            self._due[message.sequence] = now + ack_wait
        return message

    def next_due(self) -> float | None:
        """Return the moment at which the next unsettled message is delivered again."""
        return min(self._due.values(), default=None)

    def settle(self, sequence: int) -> None:
        """Forget a message that was worked on."""
        self._due.pop(sequence, None)
        if self._stream.spec.retention == "workqueue":
            self._stream.remove(sequence)
        self.bell.ring()

    def retry(self, sequence: int, delay: float) -> None:
        """Let a message be delivered again after `delay` seconds."""
        if sequence in self._due:
            self._due[sequence] = self._clock.monotonic() + delay
        self.bell.ring()

    def release_all(self) -> None:
        """Let everything that is unsettled be delivered again at once."""
        now = self._clock.monotonic()
        self._due = dict.fromkeys(self._due, now)
        self.bell.ring()
