"""Walks over typed values: what of them is in a set of fields, how they differ, merge and lose what is in a set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from orch_api.fields.sets import LEAF, SELF, FieldSet
from orch_api.schema.typed import SCALAR, FieldType, Form

_encode = msgspec.json.encode
_MAPS: Final = frozenset({Form.STRUCT, Form.MAP, Form.ANY})
_EMPTY: Final[Mapping[str, Any]] = {}


class Changes(msgspec.Struct, frozen=True):
    """How one value differs from another; sets of fields, in which every field below an added or removed one is."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    def __bool__(self) -> bool:
        """Whether there is a difference."""
        return bool(self.added or self.modified or self.removed)


def compare(kind: FieldType, old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """Return what `new` has, changed and lacks beside `old`."""
    changes = Changes({}, {}, {})
    _compare_maps(kind, old, new, changes)
    return changes


def _compare_maps(kind: FieldType, old: Mapping[str, Any], new: Mapping[str, Any], into: Changes) -> None:
    standing = kind.standing
    for name, value in new.items():
        before = old.get(name)
        if before is None and name in standing:
            before = _EMPTY
        if before != value and value is not None:
            element, inner = kind.elements.get(name) or (f"f:{name}", kind.inner(name))
            _compare(inner, before, value, element, into)
    for name, value in old.items():
        if value is not None and new.get(name) is None:
            element, inner = kind.elements.get(name) or (f"f:{name}", kind.inner(name))
            _compare(inner, value, _EMPTY if name in standing else None, element, into)


def _compare(kind: FieldType, old: Any, new: Any, element: str, into: Changes) -> None:
    """Note in which way two values, which are not equal, differ."""
    if old is None:
        into.added[element] = whole(kind, new)
        return
    if new is None:
        into.removed[element] = whole(kind, old)
        return
    inner = Changes({}, {}, {})
    if kind.form in _MAPS and isinstance(old, Mapping) and isinstance(new, Mapping):
        _compare_maps(kind, cast("Mapping[str, Any]", old), cast("Mapping[str, Any]", new), inner)
    elif (kind.form is Form.KEYED or kind.form is Form.SET) and isinstance(old, list) and isinstance(new, list):
        _compare_lists(kind, cast("list[Any]", old), cast("list[Any]", new), inner)
    else:
        into.modified[element] = LEAF
        if inside := _inside(kind, old):
            into.removed[element] = inside
        if inside := _inside(kind, new):
            into.added[element] = inside
        return
    if inner.added:
        into.added[element] = inner.added
    if inner.modified:
        into.modified[element] = inner.modified
    if inner.removed:
        into.removed[element] = inner.removed


def _inside(kind: FieldType, value: Any) -> FieldSet:
    """Return what is in a map that came instead of another value, or went for one: where no schema says what may be."""
    if kind.form is not Form.ANY or not isinstance(value, dict):
        return LEAF
    return {element: inner for element, inner in whole(kind, value).items() if element != SELF}


def _compare_lists(kind: FieldType, old: list[Any], new: list[Any], into: Changes) -> None:
    before, after = items_by_element(kind, old), items_by_element(kind, new)
    for element, item in after.items():
        was = before.get(element)
        if was != item:
            _compare(kind.item, was, item, element, into)
    for element, item in before.items():
        if element not in after:
            _compare(kind.item, item, None, element, into)


def items_by_element(kind: FieldType, items: Iterable[Any]) -> dict[str, Any]:
    """Return the items of a list that is merged, each under the element that names it; the first of like ones."""
    found: dict[str, Any] = {}
    for item in items:
        found.setdefault(element_of(kind, item), item)
    return found


def element_of(kind: FieldType, item: Any) -> str:
    """Return the element that names an item of a set or a keyed list."""
    if kind.form is Form.KEYED and isinstance(item, dict):
        fields = cast("dict[str, Any]", item)
        keys: dict[str, Any] = {}
        for key in kind.keys:
            value = fields.get(key)
            if value is None:
                value = kind.defaults.get(key)
            if value is not None:
                keys[key] = value
        return f"k:{_encode(keys).decode()}"
    return f"v:{_encode(item).decode()}"


def whole(kind: FieldType, value: Any) -> FieldSet:
    """Return the tree of a value that came or went as a whole: itself and all that is in it."""
    form = kind.form
    if form is Form.SCALAR or form is Form.ATOMIC:
        return LEAF
    result: FieldSet = {}
    if form in _MAPS and isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            if inner is not None:
                element, inner_kind = kind.elements.get(name) or (f"f:{name}", kind.inner(name))
                result[element] = whole(inner_kind, inner)
        for name in kind.standing:
            if name not in value:
                result[f"f:{name}"] = LEAF
    elif (form is Form.KEYED or form is Form.SET) and isinstance(value, list):
        for item in cast("list[Any]", value):
            result[element_of(kind, item)] = whole(kind.item, item)
    if result:
        result[SELF] = LEAF
    return result


def merge(kind: FieldType, live: Any, applied: Any) -> Any:
    """Return the live value with the applied one merged into it; neither is changed."""
    if applied is None:
        return live
    if kind.form in _MAPS and isinstance(applied, dict):
        result: dict[str, Any] = dict(cast("dict[str, Any]", live)) if isinstance(live, dict) else {}
        for name, value in cast("dict[str, Any]", applied).items():
            merged = merge(kind.inner(name), result.get(name), value)
            if merged is not None:
                result[name] = merged
        return result
    if (kind.form is Form.KEYED or kind.form is Form.SET) and isinstance(applied, list):
        return _merge_lists(kind, cast("list[Any]", live) if isinstance(live, list) else [], cast("list[Any]", applied))
    return applied


def _merge_lists(kind: FieldType, live: Sequence[Any], applied: Sequence[Any]) -> list[Any]:
    """Return the items of both lists: in the applied order, with those that only live has before what they preceded."""
    mine, theirs = items_by_element(kind, live), items_by_element(kind, applied)
    result: list[Any] = []
    waiting = list(mine.items())
    place = 0
    shared = [element for element in theirs if element in mine]
    for element, item in theirs.items():
        # An item of the applied list alone follows what live has before the next item that both have.
        until = shared[0] if shared else None
        while place < len(waiting) and waiting[place][0] != until:
            if waiting[place][0] not in theirs:
                result.append(waiting[place][1])
            place += 1
        if element == until:
            shared.pop(0)
            place += place < len(waiting)
        result.append(merge(kind.item, mine.get(element), item))
    result.extend(kept for other, kept in waiting[place:] if other not in theirs)
    return result


def without(kind: FieldType, value: Any, removed: FieldSet) -> Any:
    """Return the value without the fields of a set, each with all that is in it; None when nothing is left."""
    if kind.form in _MAPS and isinstance(value, dict):
        result: dict[str, Any] = {}
        for name, inner in cast("dict[str, Any]", value).items():
            goes = removed.get(f"f:{name}")
            if goes is None:
                result[name] = inner
            elif goes and SELF not in goes:
                kept = without(kind.inner(name), inner, goes)
                if kept is not None:
                    result[name] = kept
        return result or None
    if (kind.form is Form.KEYED or kind.form is Form.SET) and isinstance(value, list):
        items: list[Any] = []
        for item in cast("list[Any]", value):
            goes = removed.get(element_of(kind, item))
            if goes is None:
                items.append(item)
            elif goes and SELF not in goes:
                kept = without(kind.item, item, goes)
                if kept is not None:
                    items.append(kept)
        return items or None
    return value


def with_named_fields(kind: FieldType, field_set: FieldSet) -> FieldSet:
    """Return the set with every declared field that leads to one of its fields."""
    result: FieldSet = {}
    for element, inner in field_set.items():
        if element == SELF or not inner:
            result[element] = inner
            continue
        if element.startswith("f:"):
            named = kind.form is Form.STRUCT
            grown = with_named_fields(kind.inner(element[2:]), inner)
            result[element] = {SELF: LEAF, **grown} if named else grown
        else:
            result[element] = with_named_fields(kind.item if kind.form is Form.KEYED else SCALAR, inner)
    return result


class Configuration:
    """Reads an applied configuration: the set of the fields that it names, and what it may not say."""

    def __init__(self, kind: FieldType) -> None:
        self._kind = kind
        self.problems: list[str] = []

    def fields(self, document: Mapping[str, Any]) -> FieldSet:
        """Return the fields that the configuration names; see `problems` afterwards."""
        return self._map(self._kind, document, "")

    def _map(self, kind: FieldType, value: Mapping[str, Any], path: str) -> FieldSet:
        result: FieldSet = {}
        struct = kind.form is Form.STRUCT
        for name, inner in value.items():
            where = f"{path}.{name}"
            declared = struct and name in kind.elements
            if struct and not (declared or kind.open):
                self.problems.append(f"{where}: field not declared in schema")
                continue
            found = self._value(kind.inner(name), inner, where)
            if inner is None or inner == {}:
                result[f"f:{name}"] = LEAF
            elif found is not None:
                result[f"f:{name}"] = found if declared or not found else {SELF: LEAF, **found}
        return result

    def _value(self, kind: FieldType, value: Any, path: str) -> FieldSet | None:
        """Return the fields in a value: LEAF when it is a field as a whole, None when it has none."""
        if value is None or kind.form is Form.SCALAR or kind.form is Form.ATOMIC:
            return LEAF
        if kind.form in _MAPS:
            if isinstance(value, dict):
                return self._map(kind, cast("dict[str, Any]", value), path)
            if kind.form is not Form.ANY:
                self.problems.append(f"{path}: expected map, got {_shown(value)}")
            return LEAF
        if not isinstance(value, list):
            self.problems.append(f"{path}: expected list, got {_shown(value)}")
            return None
        return self._list(kind, cast("list[Any]", value), path)

    def _list(self, kind: FieldType, items: list[Any], path: str) -> FieldSet | None:
        result: FieldSet = {}
        for index, item in enumerate(items):
            if kind.form is Form.KEYED and not self._has_keys(kind, item, index, path):
                continue
            element = element_of(kind, item)
            name = _in_brackets(element)
            if element in result:
                self.problems.append(f"{path}: duplicate entries for key {name}")
                continue
            inner = self._value(kind.item, item, f"{path}{name}")
            result[element] = {SELF: LEAF, **inner} if inner else LEAF
        return result or None

    def _has_keys(self, kind: FieldType, item: Any, index: int, path: str) -> bool:
        if not isinstance(item, dict):
            self.problems.append(f"{path}: element {index}: associative list with keys must not have non-map elements")
            return False
        for key in kind.keys:
            if cast("dict[str, Any]", item).get(key) is None and key not in kind.defaults:
                self.problems.append(
                    f"{path}: element {index}: associative list with keys has an element that omits key field "
                    f'"{key}" (and doesn\'t have default value)'
                )
                return False
        return True


def _in_brackets(element: str) -> str:
    if element.startswith("v:"):
        return f"[={element[2:]}]"
    keys: dict[str, Any] = msgspec.json.decode(element[2:])
    return f"[{','.join(f'{name}={_encode(value).decode()}' for name, value in keys.items())}]"


def _shown(value: Any) -> str:
    return _encode(value).decode()
