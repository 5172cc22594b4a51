"""Sets of fields, in the form in which FieldsV1 writes them.

A set is a tree of maps. Its keys name elements: `f:<name>` a field of a map, `k:<JSON>` an item of a list by its key
fields, `v:<JSON>` an item by its value. A field is in the set when its map is empty or has the key `.`; other maps only
lead to fields further in. The root is no field: an empty root is the empty set. Trees are never changed once made, so
that sets may share parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias, cast

import msgspec

FieldSet: TypeAlias = dict[str, Any]

SELF: Final = "."
LEAF: Final[FieldSet] = {}
MAX_DEPTH: Final = 128
"""How deep a set may be that a client writes; the fields of no kind are nearly as deep."""

_decode = msgspec.json.decode


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Return the fields that are in either set."""
    if not one or not other:
        return one or other
    return _union(one, other)


def _union(one: FieldSet, other: FieldSet) -> FieldSet:
    result = dict(one)
    for element, inner in other.items():
        mine = result.get(element)
        if mine is None:
            result[element] = inner
        elif not mine:
            result[element] = {SELF: LEAF, **inner} if inner and SELF not in inner else inner
        elif not inner:
            result[element] = {SELF: LEAF, **mine} if SELF not in mine else mine
        else:
            result[element] = _union(mine, inner)
    return result


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Return the fields of the first set that are not in the second."""
    if not one or not other:
        return one
    result: FieldSet = {}
    for element, inner in one.items():
        without = other.get(element)
        if without is None:
            result[element] = inner
        elif element != SELF:
            left = _inner_difference(inner, without)
            if left is not None:
                result[element] = left
    return result


def _inner_difference(one: FieldSet, other: FieldSet) -> FieldSet | None:
    """Return what is left of an element's tree, None when nothing is."""
    taken = not other or SELF in other
    if not one:
        return None if taken else one
    kept = SELF in one and not taken
    result = difference({element: inner for element, inner in one.items() if element != SELF}, other)
    if not kept:
        return result or None
    return {SELF: LEAF, **result} if result else LEAF


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Return the fields that are in both sets."""
    result: FieldSet = {}
    for element, inner in one.items():
        both = other.get(element)
        if both is None or element == SELF:
            continue
        common = intersection(inner, both)
        if (not inner or SELF in inner) and (not both or SELF in both):
            result[element] = {SELF: LEAF, **common} if common else LEAF
        elif common:
            result[element] = common
    return result


def is_written(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Return whether a JSON value is a set as FieldsV1 writes it."""
    if not isinstance(value, dict) or not depth:
        return False
    found = cast("FieldSet", value).items()
    return all(_is_element(element) and is_written(inner, depth - 1) for element, inner in found)


def _is_element(element: str) -> bool:
    if element == SELF or element.startswith("f:"):
        return True
    kind, _, text = element.partition(":")
    try:
        found = _decode(text)
    except msgspec.DecodeError:
        return False
    return kind == "v" or (kind == "k" and isinstance(found, dict)) or (kind == "i" and isinstance(found, int))


def contains(field_set: FieldSet, path: tuple[str, ...]) -> bool:
    """Return whether a field is in a set."""
    inner: FieldSet | None = field_set
    for element in path:
        inner = inner.get(element) if inner else None
        if inner is None:
            return False
    return not inner or SELF in inner


def paths(field_set: FieldSet, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the fields of a set, each as its elements, a map before what is in it."""
    for element in sorted(field_set):
        inner: FieldSet = field_set[element]
        path = (*before, element)
        if element == SELF:
            continue
        if not inner or SELF in inner:
            yield path
        yield from paths(inner, path)


def shown(path: tuple[str, ...]) -> str:
    """Return a path as Kubernetes writes it: `.spec.containers[name="web"].image`."""
    return "".join(map(_shown_element, path))


def _shown_element(element: str) -> str:
    kind, _, text = element.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "v":
        return f"[={text}]"
    if kind == "k":
        keys: dict[str, Any] = _decode(text)
        return f"[{','.join(f'{name}={msgspec.json.encode(value).decode()}' for name, value in sorted(keys.items()))}]"
    return f"[{text}]"
