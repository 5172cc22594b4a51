"""What commands print, made safe to look at: names and messages of objects are other people's text.

A role may be called by an escape sequence, and an image's error may say anything; printed as it is, that would clear
the screen, hide lines or answer in the user's name. Of what is not printable only line ends and tabs get through.
"""

from __future__ import annotations

from typing import Final, TextIO

from orch.quoting import plain

_LAYOUT: Final = "\n\t"


class PlainText:
    """A text stream that writes out what is not printable."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; return how much of it was taken, which is all."""
        self._stream.write(plain(text, keep=_LAYOUT))
        return len(text)

    def flush(self) -> None:
        """Pass on what waits."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Return whether a terminal reads along."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self._stream.fileno()
