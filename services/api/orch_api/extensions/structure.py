"""Which schemas a definition may have: structural ones, with consistent x-kubernetes extensions.

Follows apiextensions' pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Final, Literal

from orch.errors import Cause
from orch_api.extensions import patterns
from orch_api.extensions.props import NODE_META, Props, Rule, alternatives, nested
from orch_api.extensions.pruning import prune
from orch_api.extensions.values import value_problems
from orch_api.patch.documents import equal
from orch_api.validation import forbidden, invalid, required, unsupported

Level = Literal["root", "item", "field"]

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES: Final = ("atomic", "set", "map")
_MAP_TYPES: Final = ("atomic", "granular")
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_EMPTY_TYPE: Final = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_INT_OR_STRING: Final = (Props(type="integer"), Props(type="string"))


def schema_problems(props: Props, path: str) -> list[Cause]:
    """Return why a version's schema is refused; its CEL rules are compiled elsewhere, once there is nothing here."""
    causes = sorted(_structural(props, "root", path), key=lambda cause: f"{cause.field}: {cause.message}")
    if props.nullable:
        causes.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    if not causes:
        causes = list(_defaults(props, path, inside_meta=False, root=True))
    return [*causes, *_supported(props, path, _Place())]


# Structure --------------------------------------------------------------------------------------------------------


def _structural(props: Props, level: Level, path: str) -> Iterator[Cause]:
    """Yield what keeps the schema from saying of every field what it is."""
    if props.type == "array" and props.item is None:
        yield required(f"{path}.items", "must be specified")
    if props.item is not None:
        yield from _structural(props.item, "item", f"{path}.items")
    for name, inner in props.properties.items():
        yield from _structural(inner, "field", f"{path}.properties[{name}]")
    if props.additional_properties is not None:
        if level == "root":
            yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if props.additional is not None:
            yield from _structural(props.additional, "field", f"{path}.additionalProperties")
    yield from _extensions(props, path)
    yield from _combinations(props, path)
    yield from _type(props, level, path)
    yield from _resource(props, level, path)


def _extensions(props: Props, path: str) -> Iterator[Cause]:
    if props.int_or_string and props.preserve:
        detail = "must be false if x-kubernetes-int-or-string is true"
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", True, detail)
    if props.int_or_string and props.embedded:
        detail = "must be false if x-kubernetes-int-or-string is true"
        yield invalid(f"{path}.x-kubernetes-embedded-resource", True, detail)


def _combinations(props: Props, path: str) -> Iterator[Cause]:
    if props.pattern and (problem := patterns.syntax_problem(props.pattern)):
        detail = f"must be a valid regular expression, but isn't: {problem}"
        yield invalid(f"{path}.pattern", props.pattern, detail)
    for place, inner in alternatives(props):
        usual = props.int_or_string and (
            (place.startswith("anyOf") and props.any_of == _INT_OR_STRING)
            or (place == "allOf[0]" and inner.any_of == _INT_OR_STRING)
        )
        if not usual:
            yield from _value_only(inner, f"{path}.{place}", rules=place.startswith("allOf"))


def _value_only(props: Props, path: str, *, rules: bool) -> Iterator[Cause]:
    """Yield what a schema within a combination may not say, since it would tell fields, not values."""
    yield from _combinations(props, path)
    if props.item is not None:
        yield from _value_only(props.item, f"{path}.items", rules=rules)
    for name, inner in props.properties.items():
        yield from _value_only(inner, f"{path}.properties[{name}]", rules=rules)
    for name, given, must in (
        ("type", props.type, "be empty"),
        ("additionalProperties", props.additional_properties is not None, "be undefined"),
        ("default", props.has_default, "be undefined"),
        ("title", props.title, "be empty"),
        ("description", props.description, "be empty"),
        ("nullable", props.nullable, "be false"),
        ("x-kubernetes-preserve-unknown-fields", props.preserve, "be false"),
        ("x-kubernetes-embedded-resource", props.embedded, "be false"),
        ("x-kubernetes-int-or-string", props.int_or_string, "be false"),
        ("x-kubernetes-list-map-keys", props.list_map_keys, "be empty"),
        ("x-kubernetes-list-type", props.list_type is not None, "be undefined"),
        ("x-kubernetes-map-type", props.map_type is not None, "be undefined"),
        ("x-kubernetes-validations", props.validations and not rules, "be empty"),
    ):
        if given:
            yield forbidden(f"{path}.{name}", f"must {must} to be structural")
    if "metadata" in props.properties:
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _type(props: Props, level: Level, path: str) -> Iterator[Cause]:
    at = f"{path}.type"
    if props.embedded and props.type != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(at, props.type, detail) if props.type else required(at, detail)
    elif not props.type and not props.int_or_string and not props.preserve:
        yield required(at, _EMPTY_TYPE[level])
    if props.embedded and props.additional_properties is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden(f"{path}.additionalProperties", detail)
    if level == "root" and props.type and props.type != "object":
        yield invalid(at, props.type, "must be object at the root")


def _resource(props: Props, level: Level, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the schema of a resource's own fields, at the root or embedded."""
    if level != "root" and not props.embedded:
        return
    for name, type_ in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        inner = props.properties.get(name)
        if inner is not None and inner.type != type_:
            yield invalid(f"{path}.properties[{name}].type", inner.type, f"must be {type_}")
    metadata = props.properties.get("metadata")
    if level == "root" and metadata is not None and not _says_names_alone(metadata):
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(f"{path}.properties[metadata]", detail)
    if props.embedded and not props.preserve and not props.properties:
        detail = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        yield required(f"{path}.properties", detail)


def _says_names_alone(metadata: Props) -> bool:
    names = metadata.properties.keys()
    bare = Props(type=metadata.type, description=metadata.description, default=metadata.default)
    return names <= {"name", "generateName"} and metadata == Props(
        type=bare.type, description=bare.description, default=bare.default, properties=metadata.properties
    )


# Defaults ---------------------------------------------------------------------------------------------------------


def _defaults(props: Props, path: str, *, inside_meta: bool, root: bool) -> Iterator[Cause]:
    """Yield which defaults would not be valid themselves."""
    if props.has_default:
        at = f"{path}.default"
        pruned = deepcopy(props.default)
        if not inside_meta and prune(pruned, props, root=props.embedded) and not equal(pruned, props.default):
            yield invalid(at, props.default, "must not have unknown fields")
        yield from value_problems(props.default, props, path=at)
    if props.item is not None:
        yield from _defaults(props.item, f"{path}.items", inside_meta=inside_meta, root=False)
    resource = root or props.embedded
    for name, inner in props.properties.items():
        meta = (inside_meta and not props.embedded) or (resource and name in NODE_META)
        yield from _defaults(inner, f"{path}.properties[{name}]", inside_meta=meta, root=False)
    if props.additional is not None:
        yield from _defaults(props.additional, f"{path}.additionalProperties", inside_meta=inside_meta, root=False)


# What is supported ------------------------------------------------------------------------------------------------


class _Place:
    """Where a schema stands: inside of a resource's metadata, and whether defaults are allowed there."""

    def __init__(self, *, inside_meta: bool = False, no_defaults: str = "", root: bool = True) -> None:
        self.inside_meta = inside_meta
        self.no_defaults = no_defaults
        self.root = root

    def inner(self, props: Props, place: str) -> _Place:
        """Return the place of a schema inside."""
        reason, meta = self.no_defaults, self.inside_meta
        name = place.removeprefix("properties[").removesuffix("]")
        if place == "additionalProperties" and meta:
            reason = reason or "inside additionalProperties applying to object metadata"
        if place.startswith("properties[") and (self.root or props.embedded) and name in NODE_META:
            meta = True
            if self.root:
                reason = f"in top-level {name}"
        return _Place(inside_meta=meta, no_defaults=reason, root=False)


def _supported(props: Props, path: str, place: _Place) -> Iterator[Cause]:
    yield from _unsupported_keys(props, path)
    if props.has_default and place.no_defaults:
        yield forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    if place.inside_meta and props.embedded:
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if props.unique_items:
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", detail)
    if props.additional_properties is not None and props.properties and props.additional_properties is not True:
        detail = "additionalProperties and properties are mutual exclusive"
        yield forbidden(f"{path}.additionalProperties", detail)
    for where, inner in nested(props):
        yield from _supported(inner, f"{path}.{where}", place.inner(props, where))
    if props.preserve is False:
        detail = "must be true or undefined"
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, detail)
    yield from _map_type(props, path)
    yield from _list_type(props, path)
    for index, rule in enumerate(props.validations):
        yield from _rule(rule, f"{path}.x-kubernetes-validations[{index}]")


def _unsupported_keys(props: Props, path: str) -> Iterator[Cause]:
    if props.type == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        yield forbidden(f"{path}.type", detail)
    elif props.type and props.type not in _TYPES:
        yield unsupported(f"{path}.type", props.type, _TYPES)
    for name, given in (
        ("id", bool(props.id)),
        ("additionalItems", bool(props.additional_items)),
        ("patternProperties", bool(props.pattern_properties)),
        ("definitions", bool(props.definitions)),
        ("dependencies", bool(props.dependencies)),
        ("$ref", props.ref is not None),
    ):
        if given:
            yield forbidden(f"{path}.{name}", f"{name} is not supported")
    if isinstance(props.items, list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")


def _map_type(props: Props, path: str) -> Iterator[Cause]:
    if props.map_type is None:
        return
    if props.type != "object":
        detail = "must be object if x-kubernetes-map-type is specified"
        yield invalid(f"{path}.type", props.type, detail) if props.type else required(f"{path}.type", detail)
    if props.map_type not in _MAP_TYPES:
        yield unsupported(f"{path}.x-kubernetes-map-type", props.map_type, _MAP_TYPES)


def _list_type(props: Props, path: str) -> Iterator[Cause]:
    kind, item, at = props.list_type, props.item, f"{path}.x-kubernetes-list-type"
    if kind is not None and props.type != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        yield invalid(f"{path}.type", props.type, detail) if props.type else required(f"{path}.type", detail)
    elif kind == "set" and item is not None:
        detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
        if item.type == "array" and item.list_type not in {None, "atomic"}:
            yield invalid(f"{path}.items.x-kubernetes-list-type", item.list_type, detail)
        if item.type == "object" and item.map_type != "atomic":
            yield invalid(f"{path}.items.x-kubernetes-map-type", item.list_type, detail)
    if kind is not None and kind not in _LIST_TYPES:
        yield unsupported(at, kind, _LIST_TYPES)
    if props.list_map_keys and kind != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield required(at, detail) if kind is None else invalid(at, kind, detail)
    if kind == "map":
        yield from _list_map(props, path)
    if kind in {"set", "map"} and item is not None and item.nullable:
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {kind}")


def _list_map(props: Props, path: str) -> Iterator[Cause]:
    at, item = f"{path}.x-kubernetes-list-map-keys", props.item
    if not props.list_map_keys:
        yield required(at, "must not be empty if x-kubernetes-list-type is map")
    if item is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if item.type != "object":
        yield invalid(f"{path}.items.type", item.type, "must be object if parent array's x-kubernetes-list-type is map")
        return
    keys = list(props.list_map_keys)
    for index, key in enumerate(keys):
        inner = item.properties.get(key)
        where = f"{path}.items.properties[{key}]"
        if key in keys[:index]:
            yield invalid(at, keys, "must not contain duplicate entries")
        if inner is None:
            yield invalid(at, keys, "entries must all be names of item properties")
            continue
        if inner.type in {"array", "object"}:
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{where}.type", item.type, detail)
        if key not in item.required and not inner.has_default:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            yield required(f"{where}.default", detail)
        if inner.nullable:
            detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden(f"{where}.nullable", detail)


def _rule(rule: Rule, path: str) -> Iterator[Cause]:
    text, message = rule.rule.strip(), rule.message.strip()
    if not text:
        yield required(f"{path}.rule", "rule is not specified")
    elif rule.message and not message:
        yield invalid(f"{path}.message", rule.message, "must be non-empty if specified")
    elif _has_breaks(message):
        yield invalid(f"{path}.message", rule.message, "must not contain line breaks")
    elif _has_breaks(text) and not message:
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    if rule.message_expression and not rule.message_expression.strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.reason is not None and rule.reason not in _REASONS:
        yield unsupported(f"{path}.reason", rule.reason, _REASONS)
    if rule.field_path and not rule.field_path.strip():
        yield invalid(f"{path}.fieldPath", rule.field_path, "must be non-empty if specified")
    if _has_breaks(rule.field_path):
        yield invalid(f"{path}.fieldPath", rule.field_path, "must not contain line breaks")


def _has_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text
