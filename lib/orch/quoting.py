"""Text as Go's strconv writes it: in quotes in Kubernetes' messages and in files that pods read, without in logs."""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str) -> str:
    """Return `text` in double quotes as Go's strconv.Quote writes it."""
    return '"' + "".join(quoted_character(char, '"') for char in text) + '"'


def plain(text: str, keep: str = "") -> str:
    """Return `text` with what is not printable written out, except the characters to `keep`.

    What others have written into names and messages then begins no line of a log, and steers no terminal.
    """
    if text.isprintable():
        return text
    return "".join(char if char == "\\" or char in keep else quoted_character(char, "") for char in text)


def quoted_character(char: str, delimiter: str) -> str:
    """Return one character as it is written between two `delimiter`."""
    if char in (delimiter, "\\"):
        return "\\" + char
    if char.isprintable():
        return char
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
