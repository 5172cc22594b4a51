"""Drops what a structural schema does not describe, and says what was dropped (apiextensions' schema/pruning)."""

from __future__ import annotations

from typing import Any, cast

from orch_api.extensions.props import NODE_META, Props

Document = dict[str, Any]


def prune(value: Any, props: Props, *, root: bool = False) -> list[str]:
    """Drop the unknown fields of `value` in place; return their paths. `root`: it is a resource, embedded or not."""
    dropped: list[str] = []
    _prune(value, props, "", dropped, root=root)
    return dropped


def _prune(value: Any, props: Props | None, path: str, dropped: list[str], *, root: bool) -> None:
    if isinstance(value, dict):
        _prune_map(cast("Document", value), props, path, dropped, root=root)
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        known = None if props is None else props.item
        if known is None and props is not None and props.preserve:
            return
        for index, item in enumerate(items):
            _prune(item, known, f"{path}[{index}]", dropped, root=known is not None and known.embedded)


def _prune_map(value: Document, props: Props | None, path: str, dropped: list[str], *, root: bool) -> None:
    for key in list(value):
        if root and key in NODE_META:
            continue
        where = f"{path}.{key}" if path else key
        inner = None if props is None else props.properties.get(key)
        if inner is not None:
            _prune(value[key], inner, where, dropped, root=inner.embedded)
        elif props is not None and props.open:
            inner = props.additional
            if inner is not None or not props.preserve:
                _prune(value[key], inner, where, dropped, root=inner is not None and inner.embedded)
        elif props is None or not props.preserve:
            del value[key]
            dropped.append(where)
