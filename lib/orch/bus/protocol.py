"""What orch needs of a bus. `nats.py` is the real one, `memory.py` its twin; one contract suite runs over both."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A JetStream stream as it must be. 0 means unlimited; ages in seconds, sizes in bytes.

    A full work queue refuses further messages; any other stream drops its oldest.
    """

    name: str
    subjects: tuple[str, ...]
    storage: Literal["file", "memory"] = "file"
    retention: Literal["limits", "workqueue"] = "limits"
    max_per_subject: int = 0
    max_age: float = 0
    max_bytes: int = 0
    max_messages: int = 0
    duplicate_window: float = 120
    message_ttl: bool = False


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message as it was delivered. `sequence` is the stream's (0 outside a stream)."""

    subject: str
    data: bytes
    sequence: int = 0
    message_id: str = ""
    reply: str = ""


class Signal(enum.Enum):
    """What `Bus.follow` yields between messages."""

    RESET = "reset"
    """A snapshot begins: what was known before holds only as far as the messages until SYNCED confirm it."""
    SYNCED = "synced"
    """The snapshot is complete; what follows is live."""


class Delivery(Protocol):
    """A message of a work queue, to be settled once."""

    @property
    def message(self) -> Message:
        """The message."""
        ...

    async def done(self) -> None:
        """Remove the message from the queue."""
        ...

    async def retry(self, delay: float = 0) -> None:
        """Deliver the message again after `delay` seconds."""
        ...


class Link(msgspec.Struct, frozen=True):
    """A message of a chain; see Bus.send_chain."""

    subject: str
    data: bytes
    message_id: str
    ttl: float = 0


Handler = Callable[[Message], Awaitable[bytes]]
"""Answers a request. Errors belong in the answer; an exception is logged and answered as a service error."""


class Subscription(Protocol):
    """A running subscription or service."""

    async def stop(self) -> None:
        """Stop; requests under way are finished first."""
        ...


class Bus(Protocol):
    """A connection to the message bus, under one identity.

    Every method raises UnavailableError when the bus cannot be reached in time, BusError when it refuses. The
    connection is restored in the background within a second of the server's return; subscriptions and followers
    survive that.
    """

    @property
    def user(self) -> str:
        """The identity of this connection: a Kubernetes user name such as `system:kube-scheduler`."""
        ...

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send without acknowledgement; lost when nobody listens."""
        ...

    async def send(self, subject: str, data: bytes, *, message_id: str = "", ttl: float = 0) -> asyncio.Future[int]:
        """Put a message for a stream on the wire; the future is its acknowledgement with its sequence.

        Messages leave in the order of the calls; a bounded number may be under way, past which the call waits. A
        `message_id` seen within the stream's duplicate window is acknowledged and dropped. `ttl` seconds after it was
        stored the message is removed (0: never).
        """
        ...

    async def send_chain(self, links: Sequence[Link], previous_id: str) -> asyncio.Future[int]:
        """Put messages for one stream on the wire, each fenced by the id of the one before it.

        The stream takes each only when its last message carries that id; of the first that is `previous_id` ("" for an
        empty stream). The future is the last one's acknowledgement, which stands for all: when one is lost or refused,
        so are those after it. It raises StaleWriterError when another writer came in between.
        """
        ...

    async def append(self, subject: str, data: bytes, *, message_id: str = "") -> int:
        """Add a message to the stream that takes `subject`; return its sequence when it is stored."""
        ...

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Create the stream or bring it to `spec`. Raises BusError naming the setting that the server did not take."""
        ...

    async def last_message(self, stream: str) -> Message | None:
        """Return the stream's newest message."""
        ...

    async def purge(self, stream: str, subject: str = "") -> None:
        """Remove a stream's messages, all or those of one subject."""
        ...

    def follow(self, stream: str, subjects: Sequence[str]) -> AsyncGenerator[Message | Signal]:
        """Yield RESET, the newest message of each matching subject, SYNCED, then live messages in stream order.

        When continuity is lost (the stream was rebuilt, messages were missed), it starts over with RESET by itself. A
        stream that does not exist yet is waited for.
        """
        ...

    def work(self, stream: str, name: str, *, ack_wait: float = 30, in_flight: int = 256) -> AsyncGenerator[Delivery]:
        """Yield messages of a work-queue stream, shared among all that use the same `name`."""
        ...

    async def serve(self, subject: str, handler: Handler, *, service: str = "", in_flight: int = 256) -> Subscription:
        """Answer requests on `subject`. Servers of one `service` share them and show up as that NATS micro service.

        At most `in_flight` handlers run at a time; further requests wait.
        """
        ...

    async def request(self, subject: str, data: bytes, *, timeout: float = 5) -> bytes:
        """Return the answer. Raises UnavailableError when nobody serves the subject or none comes in time."""
        ...

    def subscribe(
        self, subject: str, *, queue_limit: int = 4096
    ) -> AbstractAsyncContextManager[AsyncGenerator[Message]]:
        """Within the context, yield what is published on `subject`; past `queue_limit` waiting ones, raise BusError."""
        ...

    def new_inbox(self) -> str:
        """Return a fresh subject that only this identity may subscribe to."""
        ...

    async def close(self) -> None:
        """Flush what is under way and disconnect."""
        ...
