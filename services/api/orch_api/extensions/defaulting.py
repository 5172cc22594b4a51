"""Fills in a structural schema's defaults (apiextensions' schema/defaulting)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

from orch_api.extensions.props import Props

Document = dict[str, Any]


def apply_defaults(value: Any, props: Props) -> None:
    """Set in place what is absent, or null where null is not allowed, and has a default."""
    if isinstance(value, dict):
        document = cast("Document", value)
        for name, inner in props.properties.items():
            if inner.has_default and (name not in document or _unwanted_null(document[name], inner)):
                document[name] = deepcopy(inner.default)
        additional = props.additional
        for name, inside in document.items():
            inner = props.properties.get(name, additional)
            if inner is None:
                continue
            if name not in props.properties and inner.has_default and _unwanted_null(inside, inner):
                document[name] = deepcopy(inner.default)
            apply_defaults(document[name], inner)
    elif isinstance(value, list) and props.item is not None:
        items = cast("list[Any]", value)
        for index, item in enumerate(items):
            if props.item.has_default and _unwanted_null(item, props.item):
                items[index] = deepcopy(props.item.default)
            apply_defaults(items[index], props.item)


def drop_nulls(value: Any, props: Props) -> None:
    """Drop the null properties that may not be null and have no default: to Kubernetes they are absent."""
    if isinstance(value, dict):
        document = cast("Document", value)
        for name in list(document):
            inner = props.properties.get(name)
            if inner is not None and not inner.has_default and _unwanted_null(document[name], inner):
                del document[name]
            elif (inner := inner or props.additional) is not None:
                drop_nulls(document[name], inner)
    elif isinstance(value, list) and props.item is not None:
        for item in cast("list[Any]", value):
            drop_nulls(item, props.item)


def _unwanted_null(value: Any, props: Props) -> bool:
    return value is None and not props.nullable
