"""The schema's definitions as they are read from definitions.json.gz, and the shapes that values of them have."""

from __future__ import annotations

import enum
import gzip
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Literal, TypeAlias

import msgspec

Validation: TypeAlias = Literal["Strict", "Warn", "Ignore"]


class GroupVersionKind(msgspec.Struct, frozen=True, gc=False):
    """Names a kind that a definition describes."""

    group: str
    version: str
    kind: str


class Definition(msgspec.Struct, frozen=True, gc=False):
    """An object's or a field's schema: what decoding and patching need. Descriptions stay in the file."""

    type: str = ""
    format: str = ""
    ref: str = msgspec.field(name="$ref", default="")
    items: Definition | None = None
    values: Definition | None = msgspec.field(name="additionalProperties", default=None)
    properties: dict[str, Definition] | None = None
    required: tuple[str, ...] = ()
    patch_strategy: str = msgspec.field(name="x-kubernetes-patch-strategy", default="")
    patch_merge_key: str = msgspec.field(name="x-kubernetes-patch-merge-key", default="")
    list_type: str = msgspec.field(name="x-kubernetes-list-type", default="")
    list_map_keys: tuple[str, ...] = msgspec.field(name="x-kubernetes-list-map-keys", default=())
    map_type: str = msgspec.field(name="x-kubernetes-map-type", default="")
    kinds: tuple[GroupVersionKind, ...] = msgspec.field(name="x-kubernetes-group-version-kind", default=())


class MergeRule(msgspec.Struct, frozen=True):
    """How a patch merges a field (x-kubernetes-patch-* and x-kubernetes-list-*).

    `strategies` holds "merge", "replace" and "retainKeys" as the field's patch strategy lists them; it is empty for a
    list that has only a list type.
    """

    strategies: frozenset[str] = frozenset()
    merge_key: str = ""
    list_type: str = ""
    map_keys: tuple[str, ...] = ()


class Scalar(enum.Enum):
    """What a single value is. The value of each is the Go type that Kubernetes names in its errors."""

    TEXT = "string"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float64"
    BOOL = "bool"
    BYTES = "[]uint8"
    QUANTITY = "resource.Quantity"
    TIME = "v1.Time"
    MICRO_TIME = "v1.MicroTime"
    INT_OR_STRING = "intstr.IntOrString"
    ANY = "interface {}"


class ListOf(msgspec.Struct, frozen=True, gc=False):
    """A list of values of one shape."""

    item: Shape


class MapOf(msgspec.Struct, frozen=True, gc=False):
    """A map from texts to values of one shape."""

    value: Shape


class ObjectOf(msgspec.Struct, frozen=True, gc=False):
    """An object with the fields of a named definition."""

    name: str

    @property
    def type_name(self) -> str:
        """The Go type's own name: DeploymentSpec."""
        return self.name.rsplit(".", 1)[1]


Shape: TypeAlias = Scalar | ListOf | MapOf | ObjectOf

# What Go decodes with code of its own, so that its schema does not tell its shape.
_SPECIAL: Final[Mapping[str, Scalar]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": Scalar.QUANTITY,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": Scalar.TIME,
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": Scalar.MICRO_TIME,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": Scalar.INT_OR_STRING,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": Scalar.ANY,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": Scalar.ANY,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": Scalar.ANY,
}
_SCALARS: Final[Mapping[tuple[str, str], Scalar]] = {
    ("string", ""): Scalar.TEXT,
    ("string", "byte"): Scalar.BYTES,
    ("integer", "int32"): Scalar.INT32,
    ("integer", "int64"): Scalar.INT64,
    ("number", "double"): Scalar.FLOAT,
    ("boolean", ""): Scalar.BOOL,
}


class Definitions:
    """All definitions by name."""

    def __init__(self, by_name: Mapping[str, Definition]) -> None:
        self._by_name = by_name

    def __getitem__(self, name: str) -> Definition:
        return self._by_name[name]

    def items(self) -> list[tuple[str, Definition]]:
        """Return every name with its definition."""
        return list(self._by_name.items())

    def fields(self, name: str) -> Mapping[str, Definition]:
        """Return the fields of the object `name`."""
        return self._by_name[name].properties or {}

    def shape(self, definition: Definition) -> Shape:
        """Return what values of a field with this definition look like."""
        if definition.ref:
            return self.shape_of(definition.ref)
        if definition.type == "array" and definition.items is not None:
            return ListOf(self.shape(definition.items))
        if definition.type == "object" and definition.values is not None:
            return MapOf(self.shape(definition.values))
        return _SCALARS.get((definition.type, definition.format), Scalar.ANY)

    def shape_of(self, name: str) -> Shape:
        """Return what values of the definition `name` look like."""
        special = _SPECIAL.get(name)
        if special is not None:
            return special
        definition = self._by_name[name]
        if definition.properties is None and definition.type != "object":
            return self.shape(definition)
        return ObjectOf(name)


def packed_definitions() -> bytes:
    """Return the schema's file: JSON in gzip, an object of definitions whose `$ref`s are bare names."""
    return resources.files("orch_api.schema").joinpath("definitions.json.gz").read_bytes()


def read_definitions(packed: bytes) -> Definitions:
    """Return the definitions without their descriptions. Takes about ten milliseconds."""
    return Definitions(msgspec.json.decode(gzip.decompress(packed), type=dict[str, Definition]))


def read_full_definitions(packed: bytes) -> dict[str, dict[str, Any]]:
    """Return the definitions as they are published, for the OpenAPI documents."""
    return msgspec.json.decode(gzip.decompress(packed), type=dict[str, dict[str, Any]])
