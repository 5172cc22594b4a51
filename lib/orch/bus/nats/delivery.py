"""Reads what JetStream writes on its deliveries."""

from __future__ import annotations

from typing import Final

from orch.bus.nats.received import Header, Received
from orch.bus.protocol import Message

_MESSAGE_ID: Final = Header("Nats-Msg-Id")


def positions(reply: str) -> tuple[int, int, int]:
    """Return (sequence in the stream, number of the delivery, how many are pending) of an acknowledgement subject.

    $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>, in newer servers with
    <domain>.<account> before the stream and a random token at the end.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])


def message_of(raw: Received, sequence: int) -> Message:
    """Return a delivered message; `sequence` is the one of its `positions`."""
    return Message(
        subject=raw.subject,
        data=raw.data,
        sequence=sequence,
        message_id=raw.header(_MESSAGE_ID),
        reply=raw.reply,
    )
