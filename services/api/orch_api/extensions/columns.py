"""The columns of user-defined kinds, read by JSON paths (apiextensions' tableconvertor)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from orch.clock import parse_rfc3339
from orch_api.extensions import paths
from orch_api.kinds.columns import NAME, human_duration
from orch_api.resource import Cell, Column
from orch_api.strategy import Document

_INVALID: Final = "<invalid>"
_AGE: Final = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": "Time since the object was created.",
}


def columns(definitions: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Return a kind's columns: its name, then those of the definition, by default its age."""
    return (NAME, *(_column(one) for one in (list(definitions) or [_AGE])))


def _column(definition: Mapping[str, Any]) -> Column:
    kind: str = definition.get("type") or ""
    return Column(
        definition.get("name") or "",
        _cell(kind, definition.get("jsonPath") or ""),
        type=kind,
        format=definition.get("format") or "",
        description=definition.get("description") or "",
        priority=definition.get("priority") or 0,
    )


def _cell(kind: str, path: str) -> Cell:
    def cell(obj: Document, now: datetime) -> Any:
        found = paths.find(path, obj)
        return _shown(kind, found[0], now) if found else None

    return cell


def _shown(kind: str, value: Any, now: datetime) -> Any:
    """Return a value as a column of a type shows it, None when it is of another type."""
    if kind == "string":
        return _text(value)
    if kind == "date" and isinstance(value, str):
        return _age(value, now)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "integer":
            return int(value)
        if kind == "number":
            return float(value)
    return None


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()


def _age(text: str, now: datetime) -> str:
    try:
        return human_duration(int((now - parse_rfc3339(text)).total_seconds()))
    except ValueError:
        return _INVALID
