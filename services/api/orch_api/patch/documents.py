"""What the forms of patches share: copies, equality and the refusal of what is no object."""

from __future__ import annotations

from typing import Any, Final, cast

from orch.errors import BadRequestError

Document = dict[str, Any]

_GO_NAMES: Final = {"list": "array", "str": "string", "bool": "bool", "int": "number", "float": "number"}


def clone(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: clone(inner) for key, inner in cast("Document", value).items()}
    if isinstance(value, list):
        return [clone(inner) for inner in cast("list[Any]", value)]
    return value


def equal(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal; unlike in Python, true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("Document", one), cast("Document", other)
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(one, list) and isinstance(other, list):
        first, second = cast("list[Any]", one), cast("list[Any]", other)
        return len(first) == len(second) and all(map(equal, first, second))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def as_object(patch: Any) -> Document:
    """Return the patch when it is an object. Raises BadRequestError otherwise."""
    if isinstance(patch, dict):
        return cast("Document", patch)
    name = _GO_NAMES.get(patch.__class__.__name__, "null")
    raise BadRequestError(
        f"error decoding patch: json: cannot unmarshal {name} into Go value of type map[string]interface {{}}"
    )
