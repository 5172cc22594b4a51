"""The types of kinds, for those who want to know early whether an expression fits the objects that it will be given.

Unlike in rules of schemas (messages), names are as they are in documents: policies look at documents as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cel_expr_python import cel
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool

from orch_api.extensions.expressions.messages import PACKAGE, entry_name, new_pool
from orch_api.extensions.props import Props
from orch_api.schema.definitions import Definitions, ListOf, MapOf, ObjectOf, Scalar, Shape

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SCALARS: Final[Mapping[Scalar, Any]] = {
    Scalar.TEXT: _FIELD.TYPE_STRING,
    Scalar.INT32: _FIELD.TYPE_INT64,
    Scalar.INT64: _FIELD.TYPE_INT64,
    Scalar.FLOAT: _FIELD.TYPE_DOUBLE,
    Scalar.BOOL: _FIELD.TYPE_BOOL,
}
"""What has a type of its own; quantities, times and the like are whatever they are."""
_PROPS: Final[Mapping[str, Scalar]] = {
    "string": Scalar.TEXT,
    "integer": Scalar.INT64,
    "number": Scalar.FLOAT,
    "boolean": Scalar.BOOL,
}
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class KindTypes:
    """Declares the types of kinds; `pool` then has all that were declared."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._file = descriptor_pb2.FileDescriptorProto(
            name="kubernetes/kinds.proto",
            package=PACKAGE,
            syntax="proto2",
            dependency=["google/protobuf/struct.proto"],
        )
        self._named: dict[str, str] = {}

    def pool(self) -> DescriptorPool:
        """Return a pool with all that was declared."""
        pool = new_pool()
        pool.Add(self._file)
        return pool

    def of_definition(self, name: str) -> cel.Type:
        """Return the type of a built-in kind, by the name of its definition."""
        return cel.Type(f"{PACKAGE}.{self._message(name)}")

    def of_props(self, props: Props) -> cel.Type:
        """Return the type of a kind that a user's definition describes."""
        shown = {
            **{name: self._shape(inner) for name, inner in props.properties.items()},
            "apiVersion": Scalar.TEXT,
            "kind": Scalar.TEXT,
            "metadata": ObjectOf(_META),
        }
        return cel.Type(f"{PACKAGE}.{self._declare(shown)}")

    def _message(self, name: str) -> str:
        found = self._named.get(name)
        if found is None:
            found = self._named[name] = f"Kind{len(self._file.message_type)}"
            message = self._file.message_type.add(name=found)
            fields = self._definitions.fields(name)
            self._fill(message, {field: self._definitions.shape(inner) for field, inner in fields.items()})
        return found

    def _declare(self, shapes: Mapping[str, Shape | str]) -> str:
        name = f"Kind{len(self._file.message_type)}"
        self._fill(self._file.message_type.add(name=name), shapes)
        return name

    def _shape(self, props: Props) -> Shape | str:
        """Return the shape of a value that a schema describes; a text is the name of a message."""
        if props.int_or_string or props.preserve or props.embedded:
            return Scalar.ANY
        if props.type == "array" and props.item is not None:
            inner = self._shape(props.item)
            return Scalar.ANY if isinstance(inner, str) else ListOf(inner)
        if props.type == "object" and props.additional is not None:
            inner = self._shape(props.additional)
            return Scalar.ANY if isinstance(inner, str) else MapOf(inner)
        if props.type == "object" and props.properties:
            return self._declare({name: self._shape(inner) for name, inner in props.properties.items()})
        return Scalar.ANY if props.format else _PROPS.get(props.type, Scalar.ANY)

    def _fill(self, message: Any, shapes: Mapping[str, Shape | str]) -> None:
        for number, (name, shape) in enumerate(sorted(shapes.items()), 1):
            if _NAME.fullmatch(name):
                field = message.field.add(name=name, number=number, json_name=f"f{number}", label=_FIELD.LABEL_OPTIONAL)
                self._type(field, shape, message)

    def _type(self, field: Any, shape: Shape | str, owner: Any) -> None:
        if isinstance(shape, ListOf) and not isinstance(shape.item, ListOf | MapOf):
            self._single(field, shape.item)
            field.label = _FIELD.LABEL_REPEATED
        elif isinstance(shape, MapOf) and not isinstance(shape.value, ListOf | MapOf):
            entry = owner.nested_type.add(name=entry_name(field.name))
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
            self._single(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), shape.value)
            field.type, field.label = _FIELD.TYPE_MESSAGE, _FIELD.LABEL_REPEATED
            field.type_name = f".{PACKAGE}.{owner.name}.{entry.name}"
        else:
            self._single(field, shape)

    def _single(self, field: Any, shape: Shape | str) -> None:
        if isinstance(shape, Scalar) and shape in _SCALARS:
            field.type = _SCALARS[shape]
            return
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, ".google.protobuf.Value"
        if isinstance(shape, str):
            field.type_name = f".{PACKAGE}.{shape}"
        elif isinstance(shape, ObjectOf) and self._definitions.fields(shape.name):
            field.type_name = f".{PACKAGE}.{self._message(shape.name)}"
