"""What server-side apply needs to know of a definition's schema: which maps and lists are merged, and how."""

from __future__ import annotations

import msgspec

from orch_api.extensions.props import Props
from orch_api.schema.typed import ANY, ATOMIC, SCALAR, FieldType, Form


def field_type(props: Props, meta: FieldType) -> FieldType:
    """Return the type of values of a schema (structured-merge-diff's reading of the x-kubernetes extensions).

    `meta` is the type of the metadata of objects, which embedded ones have, too.
    """
    if props.int_or_string:
        return SCALAR
    if props.type == "array":
        return _list(props, meta)
    if props.type == "object":
        return _map(props, meta)
    return ANY if props.preserve or not props.type else SCALAR


def _map(props: Props, meta: FieldType) -> FieldType:
    if props.map_type == "atomic":
        return ATOMIC
    if props.additional_properties is not None and not props.properties:
        made = FieldType(Form.MAP)
        made.item = ANY if props.additional is None else field_type(props.additional, meta)
        return made
    if not props.properties and not props.embedded:
        return ANY
    made = FieldType(Form.STRUCT)
    made.open = bool(props.preserve)
    for name, inner in sorted(props.properties.items()):
        made.declare(name, field_type(inner, meta))
    if props.embedded:
        for name, kind in (("apiVersion", SCALAR), ("kind", SCALAR), ("metadata", meta)):
            made.declare(name, kind)
    return made


def _list(props: Props, meta: FieldType) -> FieldType:
    item = props.item
    if props.list_type == "set":
        made = FieldType(Form.SET)
        made.item = SCALAR
        return made
    if props.list_type != "map" or item is None:
        return ATOMIC
    made = FieldType(Form.KEYED)
    made.item = field_type(item, meta)
    made.keys = tuple(sorted(props.list_map_keys))
    defaults = {key: item.properties[key].default for key in made.keys if key in item.properties}
    made.defaults = {key: value for key, value in defaults.items() if value is not msgspec.UNSET}
    return made
