"""The slow path: decodes a document as Go does and says, in Kubernetes' words, what is wrong with it.

It follows sigs.k8s.io/json: the first value of a wrong type is the error, but the rest is still read; a value with an
UnmarshalJSON of its own (quantity, time) ends the decoding at once; unknown and repeated fields are collected.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, cast

import msgspec

from orch.quoting import quote
from orch_api.schema.definitions import Definition, Definitions, ListOf, MapOf, ObjectOf, Scalar, Shape
from orch_api.schema.values import canonical_micro_time, canonical_quantity, canonical_time

MAX_ISSUES: Final = 100
_INT_BITS: Final = {Scalar.INT32: 32, Scalar.INT64: 64}
_ZERO: Final[Mapping[Scalar, Any]] = {
    Scalar.TEXT: "",
    Scalar.INT32: 0,
    Scalar.INT64: 0,
    Scalar.FLOAT: 0,
    Scalar.BOOL: False,
    Scalar.BYTES: "",
    Scalar.QUANTITY: "0",
    Scalar.INT_OR_STRING: 0,
}


class FieldIssue(msgspec.Struct, frozen=True):
    """A field that strict validation refuses. `message` is the whole sentence: `unknown field "spec.foo"`."""

    path: str
    message: str


class DecodeError(Exception):
    """A value does not fit its field; worded as Go's json package does."""


class Members(list[tuple[str, Any]]):
    """A JSON object as it was written: in order and with repeated names."""


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def parse(text: str) -> Any:
    """Return the JSON value of `text` with Members for objects and Number for numbers.

    Raises ValueError for what is no JSON, RecursionError when it is nested too deeply.
    """
    return json.loads(
        text, object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def members(value: Any) -> Iterable[tuple[str, Any]] | None:
    """Return the members of an object, None if `value` is no object."""
    if isinstance(value, Members):
        return value
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).items()
    return None


def type_name(value: Any) -> str:
    """Return what Go's errors call a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case Number() | int() | float():
            return "number"
        case str():
            return "string"
        case Members() | dict():
            return "object"
        case _:
            return "array"


class Explainer:
    """Decodes one document. Afterwards `error` is what makes it unusable and `issues` what a strict reader refuses."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._struct = ""  # the innermost Go struct around the value being read
        self._stack: list[str] = []  # the names of the struct fields around it
        self._issues: dict[FieldIssue, None] = {}
        self.error = ""
        self._readers: dict[Scalar, Callable[[Any, Scalar], Any]] = {
            Scalar.TEXT: self._text,
            Scalar.INT32: self._integer,
            Scalar.INT64: self._integer,
            Scalar.FLOAT: self._float,
            Scalar.BOOL: self._bool,
            Scalar.BYTES: self._bytes,
            Scalar.QUANTITY: self._quantity,
            Scalar.TIME: self._time,
            Scalar.MICRO_TIME: self._time,
            Scalar.INT_OR_STRING: self._int_or_string,
            Scalar.ANY: self._any,
        }

    @property
    def issues(self) -> list[FieldIssue]:
        """What strict validation refuses, in the order of the document."""
        return list(self._issues)

    def document(self, value: Any, name: str) -> dict[str, Any]:
        """Return `value` as an object of the definition `name`: pruned, quantities and times in canonical form."""
        result: dict[str, Any] = {}
        try:
            result = self._object(value, ObjectOf(name), "") or {}
        except DecodeError as error:
            self.error = str(error)
        except RecursionError:
            self.error = "exceeded max depth"
        return result

    def _value(self, value: Any, shape: Shape, path: str) -> Any:
        match shape:
            case Scalar():
                return self._scalar(value, shape, path)
            case ObjectOf():
                return self._object(value, shape, path)
            case MapOf():
                return self._map(value, shape, path)
            case ListOf():
                return self._list(value, shape, path)

    def _element(self, value: Any, shape: Shape, path: str) -> Any:
        """Return an element of a list or map. In Go, null leaves an element that is no pointer at its zero value."""
        if value is None:
            if isinstance(shape, Scalar):
                return _ZERO.get(shape)  # a time has none: Go shows its zero as null
            return [] if isinstance(shape, ListOf) else {}
        return self._value(value, shape, path)

    def _object(self, value: Any, shape: ObjectOf, path: str) -> dict[str, Any] | None:
        pairs = members(value)
        if pairs is None:
            return None if value is None else self._mismatch(value, shape)
        fields = self._definitions.fields(shape.name)
        result: dict[str, Any] = {}
        seen: set[str] = set()
        outer = self._struct
        for key, inner in pairs:
            where = f"{path}.{key}" if path else key
            definition = fields.get(key)
            if definition is None:
                self._issue("unknown", where)
                continue
            if key in seen:
                self._issue("duplicate", where)
            seen.add(key)
            self._struct = shape.type_name
            self._stack.append(key)
            decoded = self._field(inner, definition, where)
            self._stack.pop()
            self._struct = outer
            if decoded is None:
                result.pop(key, None)
            else:
                result[key] = decoded
        return result

    def _field(self, value: Any, definition: Definition, path: str) -> Any:
        return None if value is None else self._value(value, self._definitions.shape(definition), path)

    def _map(self, value: Any, shape: MapOf, path: str) -> dict[str, Any] | None:
        pairs = members(value)
        if pairs is None:
            return self._mismatch(value, shape)
        result: dict[str, Any] = {}
        for key, inner in pairs:
            where = f"{path}.{key}"
            if key in result:
                self._issue("duplicate", where)
            result[_clean(key)] = self._element(inner, shape.value, where)
        return result

    def _list(self, value: Any, shape: ListOf, path: str) -> list[Any] | None:
        if not isinstance(value, list) or isinstance(value, Members):
            return self._mismatch(value, shape)
        items = cast("list[Any]", value)
        return [self._element(item, shape.item, f"{path}[{index}]") for index, item in enumerate(items)]

    def _scalar(self, value: Any, shape: Scalar, path: str) -> Any:
        try:
            return self._readers[shape](value, shape)
        except ValueError as error:  # a quantity or a time; Go does not say where, but whoever mends it must know
            raise DecodeError(f"{path}: {error}") from error

    def _text(self, value: Any, shape: Scalar) -> str | None:
        return _clean(value) if _is_text(value) else self._mismatch(value, shape)

    def _bool(self, value: Any, shape: Scalar) -> bool | None:
        return value if isinstance(value, bool) else self._mismatch(value, shape)

    def _int_or_string(self, value: Any, _: Scalar) -> int | str | None:
        return _clean(value) if _is_text(value) else self._integer(value, Scalar.INT32, fatal=True)

    def _integer(self, value: Any, shape: Scalar, *, fatal: bool = False) -> int | None:
        if type_name(value) != "number":
            return self._mismatch(value, shape, fatal=fatal)
        text, bits = str(value), _INT_BITS[shape]
        # Go parses the digits, so 3.0 and 1e3 are no integers; 20 characters hold every 64-bit one.
        if len(text) <= 20 and text.lstrip("-").isdigit() and -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
            return int(text)
        return self._mismatch(value, shape, f"number {text}", fatal=fatal)

    def _float(self, value: Any, shape: Scalar) -> int | float | None:
        if type_name(value) != "number":
            return self._mismatch(value, shape)
        return self._number(str(value))

    def _number(self, text: str) -> int | float | None:
        """Return a number that may be of any kind: an integer of 64 bits, or else a float."""
        if len(text) <= 20 and text.lstrip("-").isdigit() and -(2**63) <= int(text) < 2**63:
            return int(text)
        number = float(text)
        if abs(number) == float("inf"):
            return self._mismatch(Number(text), Scalar.FLOAT, f"number {text}")
        return number

    def _bytes(self, value: Any, shape: Scalar) -> str | None:
        if not _is_text(value):
            return self._mismatch(value, shape)
        text = str(value).replace("\r", "").replace("\n", "")
        try:
            decoded = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._fail(f"illegal base64 data at input byte {_first_bad_byte(str(value))}")
            return None
        return base64.b64encode(decoded).decode()

    def _quantity(self, value: Any, _: Scalar) -> str:
        text = str(value) if type_name(value) in {"string", "number"} else json.dumps(value)
        return canonical_quantity(text)

    def _time(self, value: Any, shape: Scalar) -> str | None:
        if not _is_text(value):
            return self._mismatch(value, Scalar.TEXT, fatal=True)
        return canonical_time(value) if shape is Scalar.TIME else canonical_micro_time(value)

    def _any(self, value: Any, shape: Scalar) -> Any:
        """Return a value that no schema describes."""
        match value:
            case Members() | dict():
                return {_clean(key): self._any(inner, shape) for key, inner in members(value) or ()}
            case list():
                return [self._any(inner, shape) for inner in cast("list[Any]", value)]
            case Number():
                return self._number(value)
            case str():
                return _clean(value)
            case _:
                return value

    def _mismatch(self, value: Any, shape: Shape, found: str = "", *, fatal: bool = False) -> None:
        """Note that `value` is not of the field's type; end the decoding if `fatal`."""
        where = f"Go struct field {self._struct}.{'.'.join(self._stack)}" if self._stack else "Go value"
        message = f"json: cannot unmarshal {found or type_name(value)} into {where} of type {go_type(shape)}"
        if fatal:
            raise DecodeError(message)
        self._fail(message)

    def _fail(self, message: str) -> None:
        self.error = self.error or message

    def _issue(self, kind: str, path: str) -> None:
        if len(self._issues) < MAX_ISSUES:
            self._issues[FieldIssue(path, f"{kind} field {quote(path)}")] = None


def go_type(shape: Shape) -> str:
    """Return the Go type of a shape as reflect prints it: []v1.Container."""
    match shape:
        case Scalar():
            return shape.value
        case ListOf(item):
            return f"[]{go_type(item)}"
        case MapOf(Scalar.QUANTITY):
            return "v1.ResourceList"
        case MapOf(value):
            return f"map[string]{go_type(value)}"
        case ObjectOf(name):
            return ".".join(name.rsplit(".", 2)[-2:])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _clean(text: str) -> str:
    r"""Return `text` with the replacement character where it has half of a surrogate pair (`\ud800`), as Go does."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first_bad_byte(text: str) -> int:
    """Return where Go's base64 decoder stops."""
    alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    count = 0
    for index, char in enumerate(text):
        if char in alphabet:
            count += 1
        elif char not in "\r\n":
            return index
    # All characters are good but the last group of four is not full; Go names the byte where that group starts.
    return len(text) - count % 4
