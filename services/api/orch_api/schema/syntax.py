"""Says what is wrong with malformed JSON in the words of Go's encoding/json, which Kubernetes passes on."""

from __future__ import annotations

import re
from typing import Final

from orch.quoting import quoted_character

MAX_DEPTH: Final = 10_000

_SPACES = re.compile(r"[ \t\r\n]*+")
_TEXT = re.compile(r'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){1,512}')
"""A part of a string's content: what a group has matched so far is kept, so that it must not be a whole megabyte."""
_HEX = re.compile(r"[0-9a-fA-F]*+")
_INTEGER = re.compile(r"0|[1-9][0-9]*+")
_EXPONENT = re.compile(r"[eE][+-]?")
_DIGITS = re.compile(r"[0-9]++")
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}


def syntax_error(data: bytes) -> str | None:
    """Return what Go says about `data`, None if it is one JSON value nested at most MAX_DEPTH deep.

    Takes about a tenth of a second for a megabyte of small values: only for a body that could not be decoded.
    """
    scanner = _Scanner(data.decode("latin-1"))  # a character is a byte, as Go's scanner sees it
    try:
        scanner.document()
    except _FaultError as fault:
        return str(fault)
    return None


class _FaultError(Exception):
    """Carries the message out of the scan."""


class _Scanner:
    """Walks over one JSON text without building values and without recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[str] = []  # the brackets that enclose the position

    def document(self) -> None:
        self._value()
        while True:
            self._skip(_SPACES)
            if not self._open:
                if self._at < len(self._text):
                    raise self._fault("after top-level value")
                return
            self._after_value(self._open[-1])

    def _after_value(self, bracket: str) -> None:
        char = self._char()
        if char == ",":
            self._at += 1
            if bracket == "{":
                self._skip(_SPACES)
                self._key()
            self._value()
        elif char == ("}" if bracket == "{" else "]"):
            self._leave()
        else:
            raise self._fault("after object key:value pair" if bracket == "{" else "after array element")

    def _value(self) -> None:
        """Read a scalar or an empty container whole; of any other container, as far as its first scalar."""
        while True:
            self._skip(_SPACES)
            char = self._char()
            if char not in ("{", "["):
                self._scalar(char)
                return
            self._enter(char)
            self._skip(_SPACES)
            if self._char() == ("}" if char == "{" else "]"):
                self._leave()
                return
            if char == "{":
                self._key()

    def _enter(self, bracket: str) -> None:
        if len(self._open) == MAX_DEPTH:
            raise self._fault("exceeded max depth")
        self._open.append(bracket)
        self._at += 1

    def _leave(self) -> None:
        self._open.pop()
        self._at += 1

    def _key(self) -> None:
        if self._char() != '"':
            raise self._fault("looking for beginning of object key string")
        self._string()
        self._skip(_SPACES)
        if self._char() != ":":
            raise self._fault("after object key")
        self._at += 1

    def _scalar(self, char: str) -> None:
        if char == '"':
            self._string()
        elif char and char in "-0123456789":
            self._number()
        elif char in _LITERALS:
            word = _LITERALS[char]
            for expected in word[1:]:
                self._at += 1
                if self._char() != expected:
                    raise self._fault(f"in literal {word} (expecting '{expected}')")
            self._at += 1
        else:
            raise self._fault("looking for beginning of value")

    def _string(self) -> None:
        self._at += 1
        while self._skip(_TEXT):
            pass
        char = self._char()
        if char == '"':
            self._at += 1
            return
        if char != "\\":
            raise self._fault("in string literal")
        self._at += 1
        if self._char() != "u":
            raise self._fault("in string escape code")
        self._at += 1
        self._skip(_HEX)
        raise self._fault("in \\u hexadecimal character escape")

    def _number(self) -> None:
        if self._char() == "-":
            self._at += 1
        if not self._skip(_INTEGER):
            raise self._fault("in numeric literal")
        if self._char() == ".":
            self._at += 1
            if not self._skip(_DIGITS):
                raise self._fault("after decimal point in numeric literal")
        if self._skip(_EXPONENT) and not self._skip(_DIGITS):
            raise self._fault("in exponent of numeric literal")

    def _char(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Move past what `pattern` matches here; return whether it matched anything."""
        found = pattern.match(self._text, self._at)
        if found is None or found.end() == self._at:
            return False
        self._at = found.end()
        return True

    def _fault(self, context: str) -> _FaultError:
        char = self._char()
        if not char:
            return _FaultError("unexpected end of JSON input")
        return _FaultError(f"invalid character '{quoted_character(char, chr(39))}' {context}")
