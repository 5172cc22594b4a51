"""Drops empty lists and maps from decoded documents, as Go leaves them out when it writes a document (omitempty).

What a kind requires is written even when it is empty, and so is an object without fields, as `emptyDir: {}` is.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast

from orch_api.schema.definitions import Definition, Definitions, ListOf, MapOf, ObjectOf, Shape

_SIGNS: Final = (b"[]", b"{}", b"[ ", b"{ ", b"\n", b"\t", b"\r")


def may_hold_empties(body: bytes) -> bool:
    """Return whether JSON may hold an empty list or map: what is written without spaces shows it."""
    return any(sign in body for sign in _SIGNS)


class _Field(NamedTuple):
    """A field that holds other values. `inner` is the definition of the objects in it, "" when there are none."""

    optional: bool
    one: bool
    inner: str


class Empties:
    """Knows which fields of each definition are left out when they are empty."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._fields: dict[str, dict[str, _Field]] = {}

    def drop(self, document: dict[str, Any], definition: str) -> None:
        """Drop from a document of the definition, in place, whatever is optional and empty."""
        fields = self._fields.get(definition)
        if fields is None:
            fields = self._fields[definition] = self._read(definition)
        emptied: list[str] = []
        for name, value in document.items():
            field = fields.get(name)
            if field is None:
                continue
            if field.one:
                self.drop(value, field.inner)
            elif not value:
                if field.optional:
                    emptied.append(name)
            elif field.inner:
                for item in cast("list[Any]", value) if isinstance(value, list) else value.values():
                    if isinstance(item, dict):
                        self.drop(cast("dict[str, Any]", item), field.inner)
        for name in emptied:
            del document[name]

    def _read(self, name: str) -> dict[str, _Field]:
        required = frozenset(self._definitions[name].required)
        found: dict[str, _Field] = {}
        for field, definition in self._definitions.fields(name).items():
            made = self._field(definition, optional=field not in required)
            if made is not None:
                found[field] = made
        return found

    def _field(self, definition: Definition, *, optional: bool) -> _Field | None:
        shape: Shape = self._definitions.shape(definition)
        match shape:
            case ObjectOf(name):
                return _Field(optional, one=True, inner=name)
            case ListOf(inner) | MapOf(inner):
                return _Field(optional, one=False, inner=inner.name if isinstance(inner, ObjectOf) else "")
            case _:
                return None
