"""Reads what JetStream writes on its deliveries."""

from __future__ import annotations

from orch.bus.nats.connection import RawMessage
from orch.bus.protocol import Message


def positions(reply: str) -> tuple[int, int, int]:
    """Return (sequence in the stream, number of the delivery, how many are pending) of an acknowledgement subject.

    $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>, in newer servers with
    <domain>.<account> before the stream and a random token at the end.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])


def message_of(raw: RawMessage) -> Message:
    """Return a delivered message."""
    headers = raw.headers
    return Message(
        subject=raw.subject,
        data=raw.data,
        sequence=positions(raw.reply)[0],
        message_id=headers.get("Nats-Msg-Id", "") if headers is not None else "",
        reply=raw.reply,
    )
