"""Protobuf messages that stand for the types of expressions: Kubernetes' own, and those of a schema's objects.

CEL's checker knows the fields of messages, so a schema becomes a file of messages when its rules are checked. Nothing
is ever stored in them: evaluation works on plain maps.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, Final

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, struct_pb2, timestamp_pb2

from orch_api.extensions.props import Props

PACKAGE: Final = "kubernetes"

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_WELL_KNOWN: Final[Sequence[Any]] = (timestamp_pb2, duration_pb2, struct_pb2)
_LIBRARY: Final = {
    "Quantity": ("nanos",),
    "URL": ("text",),
    "IP": ("text",),
    "CIDR": ("text",),
    "Semver": ("text",),
    # what questions to the authorizer are made of (authorizing)
    **dict.fromkeys(("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision"), ("text",)),
}
_SCALARS: Final = {
    "string": (_FIELD.TYPE_STRING, cel.Type.STRING),
    "integer": (_FIELD.TYPE_INT64, cel.Type.INT),
    "number": (_FIELD.TYPE_DOUBLE, cel.Type.DOUBLE),
    "boolean": (_FIELD.TYPE_BOOL, cel.Type.BOOL),
}
_FORMATS: Final = {
    "byte": (_FIELD.TYPE_BYTES, "", cel.Type.BYTES),
    "date": (_FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp", cel.Type.TIMESTAMP),
    "date-time": (_FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp", cel.Type.TIMESTAMP),
    "duration": (_FIELD.TYPE_MESSAGE, ".google.protobuf.Duration", cel.Type.DURATION),
}
_RESERVED: Final = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    }
)
_ESCAPES: Final = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPED: Final = re.compile(r"__|[./-]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_META: Final = Props(type="object", properties={"name": Props(type="string"), "generateName": Props(type="string")})


def escape(name: str) -> str:
    """Return how expressions call a property, "" when they cannot (k8s.io/apiserver/pkg/cel.Escape)."""
    if not _NAME.fullmatch(name):
        return ""
    if name in _RESERVED:
        return f"__{name}__"
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], name)


def as_resource(props: Props) -> Props:
    """Return the schema of a resource as rules see it: with its apiVersion, kind and metadata.name."""
    meta = props.properties.get("metadata", _META)
    known = {
        "apiVersion": Props(type="string"),
        "kind": Props(type="string"),
        "metadata": Props(type="object", properties={**_META.properties, **meta.properties}),
    }
    return Props(type="object", properties={**props.properties, **known}, embedded=props.embedded)


def new_pool() -> descriptor_pool.DescriptorPool:
    """Return a pool with the messages that every environment has."""
    pool = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))
    file = descriptor_pb2.FileDescriptorProto(name="kubernetes/library.proto", package=PACKAGE, syntax="proto2")
    for name, fields in _LIBRARY.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            message.field.add(name=field, number=number, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    pool.Add(file)
    return pool


POOL: Final = new_pool()


def message_class(name: str) -> Any:
    """Return the class of one of the library's messages."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def entry_name(field: str) -> str:
    """Return how protobuf calls the entries of a map: the field's name in camel case, and "Entry"."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"


class SchemaTypes:
    """The types of a version's schema. `of` declares what it meets; `pool` then has it all and is closed."""

    def __init__(self) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(
            name="kubernetes/schema.proto", package=PACKAGE, syntax="proto2", dependency=_dependencies()
        )
        self._names: dict[int, str] = {}
        self._kept: list[Props] = []  # so that no identity is reused
        self._count = itertools.count()

    def pool(self) -> descriptor_pool.DescriptorPool:
        """Return a pool with all types that were declared."""
        pool = new_pool()
        pool.Add(self._file)
        return pool

    def of(self, props: Props) -> cel.Type:
        """Return the type of values of a schema."""
        if props.int_or_string:
            return cel.Type.DYN
        if props.type == "array":
            return cel.Type.List(cel.Type.DYN if props.item is None else self.of(props.item))
        if props.type == "object":
            if props.additional is not None:
                return cel.Type.Map(cel.Type.STRING, self.of(props.additional))
            return cel.Type(f"{PACKAGE}.{self._message(props)}")
        if props.type == "string" and props.format in _FORMATS:
            return _FORMATS[props.format][2]
        return _SCALARS[props.type][1] if props.type in _SCALARS else cel.Type.DYN

    def _message(self, props: Props) -> str:
        """Return the name of the message for an object's schema, declaring it first."""
        name = self._names.get(id(props))
        if name is not None:
            return name
        name = self._names[id(props)] = f"Object{next(self._count)}"
        self._kept.append(props)
        message = self._file.message_type.add(name=name)
        shown = as_resource(props) if props.embedded else props
        for number, (field, inner) in enumerate(shown.properties.items(), 1):
            if escaped := escape(field):
                added = message.field.add(name=escaped, number=number, json_name=f"f{number}")
                self._declare(added, inner, message)
        return name

    def _declare(self, field: Any, props: Props, owner: Any) -> None:
        """Give a field the type of a schema; what protobuf cannot say is dynamic."""
        field.label = _FIELD.LABEL_OPTIONAL
        if props.type == "array" and props.item is not None and not _is_collection(props.item):
            self._single(field, props.item)
            field.label = _FIELD.LABEL_REPEATED
        elif props.type == "object" and props.additional is not None and not _is_collection(props.additional):
            entry = owner.nested_type.add(name=entry_name(field.name))
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
            value = entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL)
            self._single(value, props.additional)
            field.type, field.label = _FIELD.TYPE_MESSAGE, _FIELD.LABEL_REPEATED
            field.type_name = f".{PACKAGE}.{owner.name}.{entry.name}"
        else:
            self._single(field, props)

    def _single(self, field: Any, props: Props) -> None:
        if props.type == "object" and not _is_collection(props) and not props.int_or_string:
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{PACKAGE}.{self._message(props)}"
        elif props.type == "string" and props.format in _FORMATS:
            field.type, type_name, _ = _FORMATS[props.format]
            if type_name:
                field.type_name = type_name
        elif props.type in _SCALARS and not props.int_or_string:
            field.type = _SCALARS[props.type][0]
        else:
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, ".google.protobuf.Value"


def _is_collection(props: Props) -> bool:
    return props.type == "array" or (props.type == "object" and props.additional is not None)


def _dependencies() -> list[str]:
    return [module.DESCRIPTOR.name for module in _WELL_KNOWN]
