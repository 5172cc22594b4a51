"""The schema in a CustomResourceDefinition (JSONSchemaProps), typed: what pruning, defaulting and validation walk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

NODE_META: Final = frozenset({"apiVersion", "kind", "metadata"})
"""What every resource has beside what its schema says."""


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """One of x-kubernetes-validations."""

    rule: str = ""
    message: str = ""
    message_expression: str = ""
    reason: str | None = None
    field_path: str = ""
    optional_old_self: bool | None = None


class Props(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The schema of one value. Unset texts are empty, unset limits None."""

    type: str = ""
    format: str = ""
    title: str = ""
    description: str = ""
    default: Any = msgspec.UNSET
    nullable: bool = False
    properties: dict[str, Props] = {}
    additional_properties: bool | Props | None = None
    items: Props | list[Any] | None = None
    required: tuple[str, ...] = ()
    enum: list[Any] | None = None
    pattern: str = ""
    minimum: float | int | None = None
    maximum: float | int | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | int | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    unique_items: bool = False
    all_of: tuple[Props, ...] = ()
    any_of: tuple[Props, ...] = ()
    one_of: tuple[Props, ...] = ()
    not_: Props | None = msgspec.field(name="not", default=None)
    list_type: str | None = msgspec.field(name="x-kubernetes-list-type", default=None)
    list_map_keys: tuple[str, ...] = msgspec.field(name="x-kubernetes-list-map-keys", default=())
    map_type: str | None = msgspec.field(name="x-kubernetes-map-type", default=None)
    preserve: bool | None = msgspec.field(name="x-kubernetes-preserve-unknown-fields", default=None)
    embedded: bool = msgspec.field(name="x-kubernetes-embedded-resource", default=False)
    int_or_string: bool = msgspec.field(name="x-kubernetes-int-or-string", default=False)
    validations: tuple[Rule, ...] = msgspec.field(name="x-kubernetes-validations", default=())
    # What Kubernetes refuses, read so that it can be.
    id: str = ""
    ref: str | None = msgspec.field(name="$ref", default=None)
    additional_items: Any = msgspec.UNSET
    pattern_properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    dependencies: Any = msgspec.UNSET

    @property
    def item(self) -> Props | None:
        """The schema of a list's items."""
        return self.items if isinstance(self.items, Props) else None

    @property
    def additional(self) -> Props | None:
        """The schema of a map's values."""
        return self.additional_properties if isinstance(self.additional_properties, Props) else None

    @property
    def open(self) -> bool:
        """Whether keys beside the properties are allowed: a schema for them, or `true`."""
        return self.additional_properties is not None and self.additional_properties is not False

    @property
    def has_default(self) -> bool:
        """Whether the schema has a default."""
        return self.default is not msgspec.UNSET and self.default is not None


Schema: TypeAlias = Mapping[str, Any]

_MAX_DEPTH: Final = 300
"""Levels of JSON; the deepest schemas in use have about a tenth of that."""

EMPTY: Final = Props()


def read_props(schema: Schema) -> Props:
    """Return a schema typed. Raises ValueError for what is no schema, and says where."""
    level: list[Any] = [schema]
    for _ in range(_MAX_DEPTH):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return msgspec.convert(schema, Props)
    raise ValueError(f"the schema is nested more than {_MAX_DEPTH} levels deep")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def nested(props: Props) -> Iterator[tuple[str, Props]]:
    """Yield every schema directly inside of one, with its place: "items", "properties[spec]", "anyOf[0]"."""
    if props.item is not None:
        yield "items", props.item
    for name, inner in props.properties.items():
        yield f"properties[{name}]", inner
    if props.additional is not None:
        yield "additionalProperties", props.additional
    yield from alternatives(props)


def alternatives(props: Props) -> Iterator[tuple[str, Props]]:
    """Yield the schemas that are combined with one, with their places."""
    for name, some in (("allOf", props.all_of), ("oneOf", props.one_of), ("anyOf", props.any_of)):
        for index, inner in enumerate(some):
            yield f"{name}[{index}]", inner
    if props.not_ is not None:
        yield "not", props.not_


def walk(props: Props) -> Iterator[Props]:
    """Yield a schema and all inside of it."""
    yield props
    for _, inner in nested(props):
        yield from walk(inner)


def has_defaults(props: Props) -> bool:
    """Return whether a default is anywhere in the schema."""
    return any(one.has_default for one in walk(props))
