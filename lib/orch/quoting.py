"""Text in quotes as Go's strconv writes it: in Kubernetes' messages, and in files that pods read."""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str) -> str:
    """Return `text` in double quotes as Go's strconv.Quote writes it."""
    return '"' + "".join(quoted_character(char, '"') for char in text) + '"'


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
