"""How large the values of a schema can be in one request: what the costs of expressions are estimated by.

The figures are those of k8s.io/apiserver/pkg/cel/common (schemas.go): a request has at most 3 MiB, so that a list whose
length nobody bounds has at most as many items as fit into it.
"""

from __future__ import annotations

from typing import Final

from orch_api.extensions.expressions.messages import escape
from orch_api.extensions.props import Props

ITEMS: Final = "@items"
VALUES: Final = "@values"
KEYS: Final = "@keys"

MAX_REQUEST: Final = 3 * 1024 * 1024

_ROOM: Final = MAX_REQUEST - 2
_FORMATTED: Final = {"duration": 32, "date": 12, "date-time": 32}
_SMALLEST: Final = {"string": 2, "boolean": 4, "integer": 1, "number": 1, "array": 2, "object": 2}
_FORMATTED_SMALLEST: Final = {"duration": 2, "date": 12, "date-time": 22}


def most_elements(props: Props) -> int:
    """Return how many bytes a text of a schema has at most, or how many entries a list or map; 0 for what has none."""
    most: int | None = 0
    if props.int_or_string:
        most = _ROOM
    elif props.type == "string":
        most = _longest_text(props)
    elif props.type == "array":
        most = props.max_items
        if most is None:
            most = _ROOM // ((1 if props.item is None else smallest(props.item)) + 1)
    elif props.type == "object" and props.additional is not None:
        most = props.max_properties
        if most is None:
            most = _ROOM // (smallest(props.additional) + 6)
    return max(most, 0)


def _longest_text(props: Props) -> int:
    if props.max_length is not None:
        # a limit counts characters, of which each may have four bytes
        return max(props.max_length, 0) * (1 if props.format == "byte" else 4)
    if props.format in _FORMATTED:
        return _FORMATTED[props.format]
    if props.enum:
        return max(len(str(one).encode()) for one in props.enum)
    return _ROOM


def smallest(props: Props) -> int:
    """Return how many bytes a value of a schema has at least in JSON."""
    if props.type == "string" and props.format in _FORMATTED_SMALLEST:
        return _FORMATTED_SMALLEST[props.format]
    size = _SMALLEST.get(props.type, 1)
    if props.type == "object" and props.additional is None:
        for name in props.required:
            inner = props.properties.get(name)
            if inner is not None and not inner.has_default:
                size += len(name) + smallest(inner) + 4
    return size


def most_values(props: Props) -> int:
    """Return how often values of a schema can be in one request."""
    return MAX_REQUEST // (smallest(props) + 1)


def at_path(props: Props, path: tuple[str, ...]) -> Props | None:
    """Return the schema of what a path leads to, None when the schema does not say. A key is a text of any length."""
    found: Props | None = props
    for step in path:
        if found is None:
            return None
        match step:
            case "@items":
                found = found.item
            case "@values":
                found = found.additional
            case "@keys":
                found = Props(type="string")
            case _:
                found = next((one for name, one in found.properties.items() if escape(name) == step), None)
    return found
