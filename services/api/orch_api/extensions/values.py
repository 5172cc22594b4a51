"""Validates a document against a structural schema, in the words of Kubernetes' OpenAPI validation.

What an update did not change is not held against it (ratcheting): a subtree that equals its old self is passed over.
Rules and wording: k8s.io/kube-openapi/pkg/validation and apiextensions' pkg/apiserver/validation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from orch.errors import Cause
from orch_api import validation
from orch_api.extensions import patterns
from orch_api.extensions.formats import FORMATS
from orch_api.extensions.props import Props
from orch_api.patch.documents import equal
from orch_api.validation import duplicate, invalid, required, too_many, unsupported

ABSENT: Final = object()
"""Stands for the old value where there is none that the new one could be compared with."""

_TYPES: Final[Mapping[str, str]] = {
    "NoneType": "null",
    "bool": "boolean",
    "str": "string",
    "int": "integer",
    "float": "number",
    "list": "array",
}
_NOWHERE: Final = "<nil>"  # what Kubernetes shows in place of the field when a combination of schemas fails
_NEARLY: Final = 1e-12
"""What a remainder may be beside its number: 0.3 is three times 0.1, though not in binary."""


def value_problems(value: Any, props: Props, old: Any = ABSENT, path: str = "") -> list[Cause]:
    """Return what is wrong with a value; with an `old` one only what is wrong with what changed."""
    if old is not ABSENT and equal(value, old):
        return []
    if value is None:
        if props.nullable:
            return []
        return [*_type(value, props, path), *_enumerated(value, props, path)]
    causes = [*_type(value, props, path), *_combined(value, props, path)]
    match value:
        case bool():
            pass
        case str():
            causes += _text(value, props, path)
        case int() | float():
            causes += _number(value, props, path)
        case list():
            causes += _list(cast("list[Any]", value), props, old, path)
        case dict():
            causes += _map(cast("dict[str, Any]", value), props, old, path)
        case _:
            pass
    return [*causes, *_enumerated(value, props, path)]


def type_of(value: Any) -> str:
    """Return the JSON schema's name of a value's type; a number without a fraction is an integer."""
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return _TYPES.get(type(value).__name__, "object")


def child(path: str, name: str) -> str:
    """Return the path of a field."""
    return f"{path}.{name}" if path else name


def _type(value: Any, props: Props, path: str) -> Iterable[Cause]:
    allowed = ("integer", "string") if props.int_or_string else (props.type,)
    found = type_of(value)
    if allowed == ("",) or found in allowed or (found == "integer" and "number" in allowed):
        return ()
    detail = f'{path} in body must be of type {",".join(allowed)}: "{found}"'
    return (Cause("FieldValueTypeInvalid", f'Invalid value: "{found}": {detail}', path or _NOWHERE),)


def _enumerated(value: Any, props: Props, path: str) -> Iterable[Cause]:
    if props.enum is None or any(equal(value, one) for one in props.enum):
        return ()
    allowed = [one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in props.enum]
    return (unsupported(path or _NOWHERE, value, allowed),)


def _text(value: str, props: Props, path: str) -> Iterable[Cause]:
    if props.max_length is not None and len(value) > props.max_length:
        yield validation.too_long(path, props.max_length)
    if props.min_length is not None and len(value) < props.min_length:
        yield invalid(path, value, f"{path} in body should be at least {props.min_length} chars long")
    if props.pattern and not patterns.matches(props.pattern, value):
        yield invalid(path, value, f"{path} in body should match '{props.pattern}'")
    check = FORMATS.get(props.format.lower()) if props.format else None
    if check is not None and not check(value):
        shown = validation.shown(value)
        detail = f"{path} in body must be of type {props.format}: {shown}"
        yield Cause("FieldValueTypeInvalid", f"Invalid value: {shown}: {detail}", path)


def _number(value: float, props: Props, path: str) -> Iterable[Cause]:
    factor = props.multiple_of
    if factor and abs(math.remainder(value, factor)) > _NEARLY * max(abs(value), abs(factor)):
        yield invalid(path, value, f"{path} in body should be a multiple of {_plain(factor)}")
    if (most := props.maximum) is not None and (value > most or (props.exclusive_maximum and value == most)):
        bound = "less than" if props.exclusive_maximum else "less than or equal to"
        yield invalid(path, value, f"{path} in body should be {bound} {_plain(most)}")
    if (least := props.minimum) is not None and (value < least or (props.exclusive_minimum and value == least)):
        bound = "greater than" if props.exclusive_minimum else "greater than or equal to"
        yield invalid(path, value, f"{path} in body should be {bound} {_plain(least)}")


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _list(value: list[Any], props: Props, old: Any, path: str) -> Iterable[Cause]:
    count = len(value)
    if props.max_items is not None and count > props.max_items:
        yield too_many(path, count, props.max_items)
    if props.min_items is not None and count < props.min_items:
        yield invalid(path, count, f"{path} in body should have at least {props.min_items} items")
    if props.list_type in {"set", "map"}:
        yield from _repeated(value, props, path)
    if props.item is not None:
        before = correlated_items(value, old, props)
        for index, item in enumerate(value):
            yield from value_problems(item, props.item, before[index], f"{path}[{index}]")


def correlated_items(value: list[Any], old: Any, props: Props) -> list[Any]:
    """Return for each item its old self, ABSENT where there is none: only lists that are maps tell who is who."""
    nothing = [ABSENT] * len(value)
    if not isinstance(old, list) or props.list_type != "map":
        return nothing
    past = cast("list[Any]", old)
    before: dict[bytes, Any] = {_identity(item, props): item for item in reversed(past) if isinstance(item, dict)}
    return [before.get(_identity(item, props), ABSENT) if isinstance(item, dict) else ABSENT for item in value]


def _identity(item: Any, props: Props) -> bytes:
    """Return what tells an item from the others of its list."""
    if props.list_type != "map":
        return msgspec.json.encode(item, order="sorted")
    return msgspec.json.encode([item.get(key) for key in props.list_map_keys], order="sorted")


def _repeated(value: list[Any], props: Props, path: str) -> Iterable[Cause]:
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        if props.list_type == "map" and type_of(item) != "object":
            continue  # its type is refused already
        identity = _identity(item, props)
        if identity in seen:
            yield duplicate(f"{path}[{index}]", _named(item, props) if props.list_type == "map" else item)
        seen.add(identity)


def _named(item: dict[str, Any], props: Props) -> dict[str, Any]:
    return {key: item[key] for key in props.list_map_keys if key in item}


def _map(value: dict[str, Any], props: Props, old: Any, path: str) -> Iterable[Cause]:
    before = cast("dict[str, Any]", old) if isinstance(old, dict) and props.map_type != "atomic" else None
    count = len(value)
    if props.max_properties is not None and count > props.max_properties:
        yield too_many(path, count, props.max_properties)
    if props.min_properties is not None and count < props.min_properties:
        yield invalid(path, count, f"{path} in body should have at least {props.min_properties} properties")
    for name in props.required:
        if name not in value:
            yield required(child(path, name))
    if props.embedded and path:
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                yield required(child(path, name), "must not be empty")
    additional = props.additional
    for name, inside in value.items():
        inner = props.properties.get(name, additional)
        if inner is not None:
            past = ABSENT if before is None else before.get(name, ABSENT)
            yield from value_problems(inside, inner, past, child(path, name))


def _combined(value: Any, props: Props, path: str) -> Iterable[Cause]:
    """Check the schemas that are combined with this one; in them nothing is passed over."""
    if props.any_of:
        results = [value_problems(value, one, ABSENT, path) for one in props.any_of]
        if all(results):
            yield _combination(f'"{path}" must validate at least one schema (anyOf)')
            yield from min(results, key=len)
    if props.one_of:
        results = [value_problems(value, one, ABSENT, path) for one in props.one_of]
        valid = sum(not result for result in results)
        if valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            yield _combination(f'"{path}" must validate one and only one schema (oneOf). {found}')
            if not valid:
                yield from min(results, key=len)
    if props.all_of:
        results = [value_problems(value, one, ABSENT, path) for one in props.all_of]
        if any(results):
            none = "" if not all(results) else ". None validated"
            yield _combination(f'"{path}" must validate all the schemas (allOf){none}')
            for result in results:
                yield from result
    if props.not_ is not None and not value_problems(value, props.not_, ABSENT, path):
        yield _combination(f'"{path}" must not validate the schema (not)')


def _combination(detail: str) -> Cause:
    return invalid(_NOWHERE, "", detail)
