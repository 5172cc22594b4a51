"""Builds protobuf's message classes from the wire numbers, a package when it is first needed.

What JSON shows as one value is declared as bytes here, which look the same on the wire as a message: times, quantities
and the like (orch_api.wire.values) and messages in maps. So protobuf's C code fills a message from a whole document at
once, with only those values to be encoded beforehand.
"""

from __future__ import annotations

from functools import cache
from typing import Final, TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.message_factory import GetMessageClass

from orch_api.wire.numbers import Field, messages

MessageClass: TypeAlias = type[ProtoMessage]

SCHEMA: Final = "apiextensions.k8s.io/v1.JSONSchemaProps"
UNIONS: Final = {f"{SCHEMA}OrArray": "jSONSchemas", f"{SCHEMA}OrBool": "allows", f"{SCHEMA}OrStringArray": "property"}
"""Messages that JSON shows as the one of their fields that is set: `schema`, or the one named here."""

_SCALARS: Final = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
}


def is_nested(field: Field) -> bool:
    """Return whether a field is declared as the message that it is, rather than as bytes."""
    return field.type in messages() and field.type not in UNIONS and field.label != "{}"


def member(field: Field) -> str:
    """Return what a field is called in the message class: its JSON name where protobuf allows that ("$ref" is none)."""
    return field.name if field.name.isidentifier() else f"field_{field.number}"


class _Classes:
    """The message classes of one pool."""

    def __init__(self) -> None:
        self._pool = DescriptorPool()
        self._built: set[str] = set()

    def of(self, name: str) -> MessageClass:
        package = name.rpartition(".")[0]
        self._build(package)
        return GetMessageClass(self._pool.FindMessageTypeByName(_proto_name(name)))

    def _build(self, package: str) -> None:
        """Add a package to the pool, those that it refers to before it."""
        if package in self._built:
            return
        self._built.add(package)
        proto = FileDescriptorProto(
            name=package, package=_proto_name(package), syntax="editions", edition=Edition.EDITION_2023
        )
        proto.options.features.repeated_field_encoding = FeatureSet.EXPANDED  # as Kubernetes' own code writes lists
        for name, fields in messages().items():
            owner, _, own_name = name.rpartition(".")
            if owner == package:
                described = proto.message_type.add(name=own_name)
                for field in fields:
                    _add_field(described, name, field)
        referred = {
            field.type.rpartition(".")[0]
            for name, fields in messages().items()
            if name.rpartition(".")[0] == package
            for field in fields
            if is_nested(field)
        }
        for other in sorted(referred - {package}):
            self._build(other)
            proto.dependency.append(other)
        self._pool.Add(proto)  # pyright: ignore[reportUnknownMemberType]


def _add_field(described: DescriptorProto, owner: str, field: Field) -> None:
    label = FieldDescriptorProto.LABEL_REPEATED if field.label else FieldDescriptorProto.LABEL_OPTIONAL
    added = described.field.add(name=member(field), number=field.number, label=label)
    kind = _SCALARS.get(field.type, FieldDescriptorProto.TYPE_BYTES)
    if field.label == "{}":
        entry = described.nested_type.add(name=f"{field.name[0].upper()}{field.name[1:]}Entry")
        entry.options.map_entry = True
        optional = FieldDescriptorProto.LABEL_OPTIONAL
        entry.field.add(name="key", number=1, label=optional, type=FieldDescriptorProto.TYPE_STRING)
        entry.field.add(name="value", number=2, label=optional, type=kind)
        added.type = FieldDescriptorProto.TYPE_MESSAGE
        added.type_name = f".{_proto_name(owner)}.{entry.name}"
    elif is_nested(field):
        added.type = FieldDescriptorProto.TYPE_MESSAGE
        added.type_name = f".{_proto_name(field.type)}"
    else:
        added.type = kind


def _proto_name(name: str) -> str:
    """Return a package's or message's name as protobuf allows it: apps/v1.Deployment is apps.v1.Deployment."""
    return name.replace("/", ".").replace("-", "_")


_CLASSES: Final = _Classes()


@cache
def message_class(name: str) -> MessageClass:
    """Return the message class of a full name."""
    return _CLASSES.of(name)


@cache
def small_class(name: str, *fields: tuple[int, str, str, str]) -> MessageClass:
    """Return the class of a message that is not in the table; `fields` are number, name, type and label of each."""
    proto = FileDescriptorProto(name=name, package="small", syntax="editions", edition=Edition.EDITION_2023)
    described = proto.message_type.add(name=name)
    for number, own_name, kind, label in fields:
        _add_field(described, name, Field(number, own_name, kind, label))  # pyright: ignore[reportArgumentType]
    pool = DescriptorPool()
    pool.Add(proto)  # pyright: ignore[reportUnknownMemberType]
    return GetMessageClass(pool.FindMessageTypeByName(f"small.{name}"))
