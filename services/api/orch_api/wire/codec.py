"""Translates documents to protobuf messages and back, by steps that are compiled when a message is first used.

Protobuf's C code turns a dict into a message in one call, for fields are called what JSON calls them. What differs is
changed in the dict beforehand, and only the fields that can hold such differences are visited: values that are bytes
on the wire, and fields that JSON shows in their parent's place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message as ProtoMessage

from orch_api.wire.descriptors import UNIONS, is_nested, member, message_class
from orch_api.wire.numbers import Field, messages
from orch_api.wire.values import VALUES, Value

Document: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[Any], Any]

_PLAIN: Final = frozenset({"string", "int32", "int64", "bool", "double"})


class Message:
    """One message type."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self._fields: Final = messages()[name]

    def encode(self, document: Document) -> bytes:
        """Return a document as protobuf. The document is used up; fields that protobuf has no number for are dropped.

        Raises ValueError and TypeError when a value is not of its field's type.
        """
        changed = self.changed(document)
        kind = message_class(self.name)
        try:
            return kind(**changed).SerializeToString()
        except ValueError:  # a field that no message has: apiVersion and kind in a StatefulSet's claim templates
            self.prune(changed)
            return kind(**changed).SerializeToString()

    def decode(self, data: bytes) -> Document:
        """Return the document that a message stands for, without unknown fields.

        Raises google.protobuf's DecodeError, and ValueError for a value that JSON cannot show.
        """
        return self.document(message_class(self.name).FromString(data))

    def changed(self, document: Document) -> Document:
        """Return a document, which is used up, in the form that protobuf's message class takes."""
        for into, names, inner in self._inlined:
            found = {key: document.pop(key) for key in names.intersection(document)}
            if found:
                document[into] = inner.changed(found)
        for key, into, change in self._changes:
            value = document.get(key)
            if value is not None:
                if into is not key:
                    del document[key]
                document[into] = change(value)
        return document

    def document(self, message: ProtoMessage) -> Document:
        """Return what a parsed message says."""
        readers = self._readers
        result: Document = {}
        for field, value in message.ListFields():
            name, convert, keep = readers[field.number]
            shown = value if convert is None else convert(value)
            if not name:
                result.update(shown)
            elif shown or (keep and shown is not None):
                result[name] = shown
        return result

    def prune(self, changed: Document) -> None:
        """Drop what the message has no field for, at any depth, from a changed document."""
        kinds = {member(field): field for field in self._fields}
        for key in [key for key in changed if key not in kinds]:
            del changed[key]
        for key, value in changed.items():
            if is_nested(kinds[key]) and value is not None:
                inner = message(kinds[key].type)
                for one in value if kinds[key].label else (value,):
                    inner.prune(one)

    @cached_property
    def names(self) -> frozenset[str]:
        """What the fields are called in JSON, among them those of inlined messages."""
        own = {field.name for field in self._fields if not field.inline}
        return frozenset(own).union(*(message(field.type).names for field in self._fields if field.inline))

    @cached_property
    def _inlined(self) -> tuple[tuple[str, frozenset[str], Message], ...]:
        own = {field.name for field in self._fields if not field.inline}
        inlined = [(field.name, message(field.type)) for field in self._fields if field.inline]
        return tuple((name, inner.names - own, inner) for name, inner in inlined)

    @cached_property
    def _changes(self) -> tuple[tuple[str, str, Change], ...]:
        found: list[tuple[str, str, Change]] = []
        for field in self._fields:
            change = None if field.inline else _change(field)
            if change is not None or member(field) != field.name:
                into = field.name if member(field) == field.name else member(field)
                found.append((field.name, into, change or _same))
        return tuple(found)

    @cached_property
    def _readers(self) -> dict[int, tuple[str, Change | None, bool]]:
        return {
            field.number: ("" if field.inline else field.name, _conversion(field), field.keep) for field in self._fields
        }


@cache
def message(name: str) -> Message:
    """Return the message type of a full name. Raises KeyError when the table has no such message."""
    return Message(name)


def _change(field: Field) -> Change | None:
    """Return what is done to a field's value in a document before protobuf takes it, None when nothing is."""
    if field.type in _PLAIN:
        return None
    if is_nested(field):
        if not _differs(field.type):
            return None
        change: Change = message(field.type).changed
    else:
        change = _value(field.type).encode
    if field.label == "[]":
        return lambda values: [change(one) for one in values]
    if field.label == "{}":
        return lambda values: {key: change(one) for key, one in values.items()}
    return change


def _conversion(field: Field) -> Change | None:
    """Return how a field's value in a parsed message becomes what a document holds, None when it is that already."""
    if field.type in _PLAIN:
        convert: Change = _same
    elif is_nested(field):
        convert = message(field.type).document
    else:
        convert = _value(field.type).decode
    if field.label == "[]":
        return list if convert is _same else lambda values: [convert(one) for one in values]
    if field.label == "{}":
        return lambda values: {key: convert(values[key]) for key in sorted(values)}
    return None if convert is _same else convert


@cache
def _differs(name: str) -> bool:
    """Return whether a document differs from its message, in itself or in any of the messages in it."""
    reached = {name}
    waiting = [name]
    while waiting:
        for field in messages()[waiting.pop()]:
            if field.inline or member(field) != field.name:
                return True
            if is_nested(field):
                if field.type not in reached:
                    reached.add(field.type)
                    waiting.append(field.type)
            elif field.type not in _PLAIN:
                return True
    return False


@cache
def _value(kind: str) -> Value:
    """Return how values of a type that is declared as bytes are translated."""
    if kind in UNIONS:
        return _union(message(kind), UNIONS[kind])
    if kind in VALUES:
        return VALUES[kind]
    inner = message(kind)
    return Value(inner.encode, inner.decode)


def _union(both: Message, other: str) -> Value:
    """Return how a schema, or the value of the field `other` in its place, is translated."""

    def encode(value: Any) -> bytes:
        if not isinstance(value, dict):
            return both.encode({other: value})
        return both.encode({"schema": value, "allows": True} if other == "allows" else {"schema": value})

    def decode(data: bytes) -> Any:
        chosen = both.decode(data)
        return chosen["schema"] if "schema" in chosen else chosen.get(other)

    return Value(encode, decode)


def _same(value: Any) -> Any:
    return value
