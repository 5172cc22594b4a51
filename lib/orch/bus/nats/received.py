"""A message as it came over the wire. Its headers stay bytes: of most messages nobody asks for more than one."""

from __future__ import annotations

from typing import Final

_VERSION: Final = len(b"NATS/1.0")
_STATUS: Final = slice(_VERSION + 1, _VERSION + 4)
_SPACE: Final = ord(" ")


class Header:
    """A header's name as `Received.header` looks for it."""

    __slots__ = ("mark", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.mark = f"\r\n{name}:".encode()


class Received:
    """A message: `head` is its block of headers from "NATS/1.0" on, b"" without any."""

    __slots__ = ("data", "head", "reply", "subject")

    def __init__(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        self.subject = subject
        self.reply = reply
        self.head = head
        self.data = data

    @property
    def status(self) -> str:
        """The three digits that the server put in place of a message, "" for a message."""
        head = self.head
        if not head or self.data or head[_VERSION] != _SPACE:
            return ""
        return head[_STATUS].decode("ascii", "replace")

    def header(self, wanted: Header) -> str:
        """Return the value of a header, "" without it."""
        start = self.head.find(wanted.mark)
        if start < 0:
            return ""
        start += len(wanted.mark)
        return self.head[start : self.head.find(b"\r\n", start)].strip().decode(errors="replace")
