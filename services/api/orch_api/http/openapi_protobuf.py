"""The OpenAPI v2 document in protobuf, which is the only form that kubectl asks for.

kubectl needs it for what it does not find in v3's index, a kind that does not exist or the kind List above all. The
messages are openapi.v2's of github.com/google/gnostic; a Writer below knows one of their fields.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_ASKED_FOR: Final = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")

Writer = Callable[[int, Any], bytes]
"""Returns a field, given its number and what JSON has in its place."""
Encode = Callable[[Any], bytes]
"""Returns the content of a message, given what JSON has in its place."""


def is_asked_for(accept: str) -> bool:
    """Return whether an Accept header prefers protobuf."""
    return accept.partition(",")[0].partition(";")[0].strip() in _ASKED_FOR


def encode(document: Mapping[str, Any]) -> bytes:
    """Return an OpenAPI v2 document as protobuf. Raises KeyError for a field that the format does not have."""
    return _DOCUMENT(document)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, value: Any) -> bytes:
    return _delimited(number, value.encode())


def _texts(number: int, value: Any) -> bytes:
    return b"".join(_text(number, each) for each in value)


def _flag(number: int, value: Any) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _double(number: int, value: Any) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _count(number: int, value: Any) -> bytes:
    """Return an int64 that is not negative."""
    return _varint(number << 3) + _varint(int(value))


def _any(number: int, value: Any) -> bytes:
    """Return an Any, which holds its value as YAML; JSON is YAML."""
    return _delimited(number, _delimited(2, msgspec.json.encode(value)))


def _one(encode: Encode) -> Writer:
    return lambda number, value: _delimited(number, encode(value))


def _many(encode: Encode) -> Writer:
    return lambda number, value: b"".join(_delimited(number, encode(each)) for each in value)


def _named(writer: Writer) -> Encode:
    """Return what encodes a map, whose entries are messages of a name (1) and a value (2)."""
    return lambda value: b"".join(_delimited(1, _text(1, name) + writer(2, each)) for name, each in value.items())


def _message(vendor: int = 0, **fields: tuple[int, Writer]) -> Encode:
    """Return what encodes an object of `fields`; the extensions x-… go to the field `vendor`."""

    def encode(value: Any) -> bytes:
        parts: list[bytes] = []
        for key, inner in value.items():
            if vendor and key.startswith("x-"):
                parts.append(_delimited(vendor, _text(1, key) + _any(2, inner)))
            else:
                number, writer = fields["ref" if key == "$ref" else key]
                parts.append(writer(number, inner))
        return b"".join(parts)

    return encode


def _alternative(number: int, encode: Encode) -> Encode:
    """Return what encodes a message that is one of several, the one with `number`."""
    return lambda value: _delimited(number, encode(value))


def _schema(value: Any) -> bytes:
    return _SCHEMA(value)


def _type(value: Any) -> bytes:
    return _texts(1, [value] if isinstance(value, str) else value)


def _additional(value: Any) -> bytes:
    return _flag(2, value) if isinstance(value, bool) else _delimited(1, _schema(value))


_EXTERNAL_DOCS: Final = _message(description=(1, _text), url=(2, _text), vendor=3)

_SCHEMA: Final = _message(
    ref=(1, _text),
    format=(2, _text),
    title=(3, _text),
    description=(4, _text),
    default=(5, _any),
    # Kubernetes' own kinds have none of the bounds, user-defined ones do.
    multipleOf=(6, _double),
    maximum=(7, _double),
    exclusiveMaximum=(8, _flag),
    minimum=(9, _double),
    exclusiveMinimum=(10, _flag),
    maxLength=(11, _count),
    minLength=(12, _count),
    pattern=(13, _text),
    maxItems=(14, _count),
    minItems=(15, _count),
    uniqueItems=(16, _flag),
    maxProperties=(17, _count),
    minProperties=(18, _count),
    required=(19, _texts),
    enum=(20, lambda number, value: b"".join(_any(number, each) for each in value)),
    additionalProperties=(21, _one(_additional)),
    type=(22, _one(_type)),
    items=(23, _one(_alternative(1, _schema))),
    allOf=(24, _many(_schema)),
    properties=(25, _one(_named(_one(_schema)))),
    externalDocs=(29, _one(_EXTERNAL_DOCS)),
    example=(30, _any),
    vendor=31,
)

_BODY: Final = _message(
    description=(1, _text),
    name=(2, _text),
    **{"in": (3, _text)},
    required=(4, _flag),
    schema=(5, _one(_schema)),
    vendor=6,
)

_PLAIN_FIELDS: Final[dict[str, tuple[int, Writer]]] = {
    "required": (1, _flag),
    "in": (2, _text),
    "description": (3, _text),
    "name": (4, _text),
}
_QUERY: Final = _message(**_PLAIN_FIELDS, type=(6, _text), format=(7, _text), uniqueItems=(20, _flag), vendor=23)
_PATH: Final = _message(**_PLAIN_FIELDS, type=(5, _text), format=(6, _text), uniqueItems=(19, _flag), vendor=22)


def _parameter(value: Any) -> bytes:
    """Return a ParametersItem that holds a Parameter: a body's, a query's or a path's."""
    match value["in"]:
        case "body":
            parameter = _delimited(1, _BODY(value))
        case "query":
            parameter = _delimited(2, _delimited(3, _QUERY(value)))
        case _:
            parameter = _delimited(2, _delimited(4, _PATH(value)))
    return _delimited(1, parameter)


_RESPONSE: Final = _message(description=(1, _text), schema=(2, _one(_alternative(1, _schema))), vendor=5)
_OPERATION: Final = _message(
    tags=(1, _texts),
    summary=(2, _text),
    description=(3, _text),
    operationId=(5, _text),
    produces=(6, _texts),
    consumes=(7, _texts),
    parameters=(8, _many(_parameter)),
    responses=(9, _one(_named(_one(_alternative(1, _RESPONSE))))),
    schemes=(10, _texts),
    vendor=13,
)
_PATH_ITEM: Final = _message(
    get=(2, _one(_OPERATION)),
    put=(3, _one(_OPERATION)),
    post=(4, _one(_OPERATION)),
    delete=(5, _one(_OPERATION)),
    options=(6, _one(_OPERATION)),
    head=(7, _one(_OPERATION)),
    patch=(8, _one(_OPERATION)),
    parameters=(9, _many(_parameter)),
    vendor=10,
)
_KEY_SECURITY: Final = _message(
    type=(1, _text), name=(2, _text), **{"in": (3, _text)}, description=(4, _text), vendor=5
)


def _paths(value: Any) -> bytes:
    """Return Paths, whose entries have the number 2, unlike those of other maps."""
    return b"".join(_delimited(2, _text(1, path) + _delimited(2, _PATH_ITEM(item))) for path, item in value.items())


_DOCUMENT: Final = _message(
    swagger=(1, _text),
    info=(2, _one(_message(title=(1, _text), version=(2, _text), description=(3, _text), vendor=7))),
    paths=(8, _one(_paths)),
    definitions=(9, _one(_named(_one(_schema)))),
    security=(12, _many(_named(_one(lambda value: _texts(1, value))))),
    securityDefinitions=(13, _one(_named(_one(_alternative(2, _KEY_SECURITY))))),
    vendor=16,
)
