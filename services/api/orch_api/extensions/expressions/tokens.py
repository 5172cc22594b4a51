"""The words of an expression: what has to be known of its text where the text itself is changed before it is compiled.

Two things that Kubernetes has and the runtime lacks are brought about in the text: variables that are evaluated only
when they are needed, and initializers of types that no schema declares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_RAW: Final = (r'"""[\s\S]*?"""', r"'''[\s\S]*?'''", r'"[^"\n]*"', r"'[^'\n]*'")
_ESCAPED: Final = (
    r'"""(?:\\[\s\S]|[^\\])*?"""',
    r"'''(?:\\[\s\S]|[^\\])*?'''",
    r'"(?:\\.|[^"\\\n])*"',
    r"'(?:\\.|[^'\\\n])*'",
)
_WORD: Final = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    rf"|(?P<text>[bB]?[rR][bB]?(?:{'|'.join(_RAW)})|[bB]?(?:{'|'.join(_ESCAPED)}))"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`)"
    r"|(?P<number>[0-9][0-9A-Za-z_]*(?:\.[0-9]+)?)"
    r"|(?P<mark>[\s\S])"
)
_VARIABLES: Final = "variables"
INITIALIZED: Final = frozenset({"Object", "JSONPatch"})
"""What the types begin with that expressions may make values of."""


class Word(NamedTuple):
    """A piece of a text: its kind is space (comments included), text (a literal), name, number or mark."""

    kind: str
    text: str


class InitializerError(ValueError):
    """An initializer of another type than its place wants."""


def words(text: str) -> list[Word]:
    """Return the pieces of a text; joined, they are the text."""
    return [Word(found.lastgroup or "mark", found[0]) for found in _WORD.finditer(text)]


def variables_of(text: str) -> list[str]:
    """Return which members of `variables` an expression names."""
    found = words(text)
    return [found[place + 2].text for place in range(len(found)) if _is_variable(found, place)]


def bound_name(name: str) -> str:
    """Return under which name a variable is bound; as long as what it stands for, so that columns stay."""
    return f"{_VARIABLES}_{name}"


def with_bound_names(text: str) -> str:
    """Return an expression in which every `variables.name` is the name under which the variable is bound."""
    found = words(text)
    if not any(_is_variable(found, place) for place in range(len(found))):
        return text
    result: list[str] = []
    place = 0
    while place < len(found):
        if _is_variable(found, place):
            result.append(bound_name(found[place + 2].text))
            place += 3
        else:
            result.append(found[place].text)
            place += 1
    return "".join(result)


def _is_variable(found: Sequence[Word], place: int) -> bool:
    if found[place] != ("name", _VARIABLES) or _follows_dot(found, place):
        return False
    return place + 2 < len(found) and found[place + 1].text == "." and found[place + 2].kind == "name"


def _follows_dot(found: Sequence[Word], place: int) -> bool:
    before = next((one for one in reversed(found[:place]) if one.kind != "space"), None)
    return before is not None and before.text == "."


# Initializers -----------------------------------------------------------------------------------------------------


class _Frame:
    """A bracket that is open; `path` is the type that it initializes, "" for other brackets.

    What is initialized inside of something else is of no particular type, so that branches may differ in it.
    """

    __slots__ = ("at_field", "field", "inner", "path")

    def __init__(self, path: str = "", *, inner: bool = False) -> None:
        self.path = path
        self.inner = inner
        self.field = ""
        self.at_field = bool(path)


def without_initializers(text: str) -> str:
    """Return an expression in which `Object.spec{replicas: 1}` is the map `{"replicas": 1}`.

    Raises InitializerError when a type is not the one of the field that it is given to.
    """
    found = words(text)
    if not any(one.kind == "name" and one.text in INITIALIZED for one in found):
        return text
    result: list[str] = []
    frames: list[_Frame] = []
    place = 0
    while place < len(found):
        end, path = _initializer(found, place)
        if path:
            _check(path, frames)
            result.append("".join(one.text if one.kind == "space" else "" for one in found[place:end]))
            inner = any(frame.path for frame in frames)
            frames.append(_Frame(path, inner=inner))
            result.append("dyn({" if inner else "{")
            place = end + 1
            continue
        result.append(_passed(found[place], frames))
        place += 1
    return "".join(result)


def _initializer(found: Sequence[Word], place: int) -> tuple[int, str]:
    """Return where the brace is of an initializer that begins at a place, and its type; "" when none begins there."""
    word = found[place]
    if word.kind != "name" or word.text not in INITIALIZED or _follows_dot(found, place):
        return 0, ""
    steps = [word.text]
    wants_name = False
    for at in range(place + 1, len(found)):
        one = found[at]
        if one.kind == "space":
            continue
        if wants_name and one.kind == "name":
            steps.append(one.text.strip("`"))
        elif not wants_name and one.text == "{":
            return at, ".".join(steps)
        elif wants_name or one.text != ".":
            return 0, ""
        wants_name = not wants_name
    return 0, ""


def _check(path: str, frames: Sequence[_Frame]) -> None:
    outer = next((frame for frame in reversed(frames) if frame.path), None)
    if outer is None or outer.path == "JSONPatch":
        return
    expected = f"{outer.path}.{outer.field}"
    if path != expected:
        raise InitializerError(
            f'type mismatch: unexpected type name "{path}", expected "{expected}", which matches field name path from '
            "root Object type"
        )


def _passed(word: Word, frames: list[_Frame]) -> str:
    """Return what becomes of a word outside of types: names of fields become texts."""
    frame = frames[-1] if frames else None
    if word.kind == "mark":
        if word.text in "{[(":
            frames.append(_Frame())
        elif word.text in "}])" and frames:
            return f"{word.text})" if frames.pop().inner else word.text
        elif word.text == "," and frame is not None and frame.path:
            frame.at_field = True
        return word.text
    if word.kind == "name" and frame is not None and frame.at_field:
        frame.field, frame.at_field = word.text.strip("`"), False
        return f'"{frame.field}"'
    return word.text
