"""The simple JSON paths that a definition may hold: columns, replicas, selectable fields, the fields of rules.

.spec.replicas                       scale, selectable fields
.status.conditions[?(@.type=="Ready")].status   columns: client-go's JSONPath, of which these parts are read:
.a.b   ['a']   [0]   [-1]   [*]   [1:3]   ..a   [?(@.a=="b")]   with == != < <= > >=
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from orch_api.extensions.props import Props

Step = Callable[[Any], Iterator[Any]]
"""What one part of a path finds in a value."""

_PART: Final = re.compile(
    r"""\.\.(?P<deep>[^.\[\]'"]+|\*)
    |\.(?P<field>(?:\\.|[^.\[\]\\])+)
    |\[\s*(?:'(?P<single>(?:\\.|[^'\\])*)'|"(?P<double>(?:\\.|[^"\\])*)")\s*\]
    |\[\s*(?P<index>-?\d+)\s*\]
    |\[\s*(?P<low>-?\d*):(?P<high>-?\d*)\s*\]
    |\[\s*(?P<all>\*)\s*\]
    |\[\?\(\s*(?P<filter>.*?)\s*\)\]
    """,
    re.VERBOSE,
)
_FILTER: Final = re.compile(r"@(?P<path>[^=!<>\s]*)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+))?")


def simple(path: str) -> tuple[str, ...]:
    """Return the fields of a path in dot notation: (".spec.replicas") → ("spec", "replicas")."""
    return tuple(part for part in path.split(".") if part)


def fields(path: str) -> tuple[str, ...]:
    """Return the fields of a path that leads to one place: ".a.b['c.d']". Raises ValueError for any other."""
    names: list[str] = []
    place = 0
    while place < len(path):
        found = _PART.match(path, place)
        name = None if found is None else found["field"] or found["single"] or found["double"]
        if found is None or not name:
            raise ValueError(f"expected [ or . at {path[place:]!r}")
        names.append(re.sub(r"\\(.)", r"\1", name))
        place = found.end()
    if not names:
        raise ValueError("must not be empty")
    return tuple(names)


def at(document: Any, path: Sequence[str]) -> Any:
    """Return what is at a path of fields, None when it is not there."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = cast("dict[str, Any]", document).get(name)
    return document


def schema_at(props: Props, path: Sequence[str]) -> Props | None:
    """Return the schema of the field at a path, None when the schema has no such field."""
    found: Props | None = props
    for name in path:
        if found is None:
            return None
        found = found.properties.get(name, found.additional)
    return found


def find(path: str, document: Any) -> list[Any]:
    """Return all that a JSON path finds; nothing for a path that makes no sense."""
    try:
        steps = _compiled(path)
    except ValueError:
        return []
    values: list[Any] = [document]
    for step in steps:
        values = [found for value in values for found in step(value)]
    return values


def problem(path: str) -> str:
    """Return why a JSON path cannot be read, "" when it can."""
    try:
        _ = _compiled(path)
    except ValueError as error:
        return str(error)
    return ""


@lru_cache(2048)
def _compiled(path: str) -> tuple[Step, ...]:
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    steps: list[Step] = []
    place = 1 if text.startswith("$") else 0
    while place < len(text) and text[place:] != ".":
        found = _PART.match(text, place)
        if found is None:
            raise ValueError(f"unrecognized character in action: {text[place]!r}")
        steps.append(_step(found))
        place = found.end()
    return tuple(steps)


def _step(part: re.Match[str]) -> Step:
    named = part.groupdict()
    if named["deep"] is not None:
        return _deep(named["deep"])
    if named["index"] is not None:
        return _slice(int(named["index"]), None)
    if named["low"] is not None:
        return _slice(int(named["low"] or 0), int(named["high"]) if named["high"] else 2**31)
    if named["all"] is not None:
        return _members
    if named["filter"] is not None:
        return _filter(named["filter"])
    name = named["field"] or named["single"] or named["double"] or ""
    return _field(re.sub(r"\\(.)", r"\1", name))


def _field(name: str) -> Step:
    if name == "*":
        return _members

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield cast("dict[str, Any]", value)[name]

    return step


def _members(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        yield from cast("list[Any]", value)


def _slice(low: int, high: int | None) -> Step:
    """Return the items from `low` to before `high`; without that only the item at `low`."""

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            items = cast("list[Any]", value)
            if high is not None:
                yield from items[low:high]
            elif -len(items) <= low < len(items):
                yield items[low]

    return step


def _deep(name: str) -> Step:
    first = _field(name)

    def step(value: Any) -> Iterator[Any]:
        yield from first(value)
        for inner in _members(value):
            yield from step(inner)

    return step


def _filter(text: str) -> Step:
    found = _FILTER.fullmatch(text)
    if found is None:
        raise ValueError(f"unrecognized filter: {text}")
    inner, operator = _compiled(found["path"]), found["operator"]
    wanted = None if operator is None else _literal(found["value"].strip())

    def holds(item: Any) -> bool:
        values = [item]
        for step in inner:
            values = [deeper for value in values for deeper in step(value)]
        if operator is None:
            return bool(values)
        return any(_compare(value, operator, wanted) for value in values)

    def step(value: Any) -> Iterator[Any]:
        yield from (item for item in _members(value) if holds(item))

    return step


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"unrecognized literal: {text}") from error


def _compare(value: Any, operator: str, wanted: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if operator in {"==", "!="}:
        return (type(value) is type(wanted) and value == wanted) == (operator == "==")
    if type(value) is not type(wanted) or isinstance(value, bool):
        return False
    return {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[operator]
