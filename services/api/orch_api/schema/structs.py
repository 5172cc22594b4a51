"""Turns definitions into msgspec Structs, so that decoding, type checks and unknown fields are found in C."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Final, Optional, TypeAlias

import msgspec

from orch_api.schema.definitions import Definitions, ListOf, MapOf, ObjectOf, Scalar, Shape
from orch_api.schema.values import CANONICAL_MICRO_TIME, CANONICAL_TIME, canonical_quantity

Annotation: TypeAlias = Any  # what msgspec takes as a field's type: a class, an alias, a forward reference

_CACHED_QUANTITIES: Final = 8192


class Quantity:
    """A quantity in a decoded Struct; its text is canonical."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


@lru_cache(maxsize=_CACHED_QUANTITIES)
def _quantity(value: str | float) -> Quantity:
    return Quantity(canonical_quantity(value if isinstance(value, str) else repr(value)))


def decode_hook(_kind: type, value: object) -> Quantity:
    """Build the one type that msgspec does not know. ValueError, which msgspec reports, when it is no quantity."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a quantity is a text or a number")  # noqa: TRY004 - msgspec reports ValueError alone
    return _quantity(value)


def encode_hook(value: object) -> str:
    """Return a quantity's text."""
    if isinstance(value, Quantity):
        return value.text
    raise TypeError(f"{type(value).__name__} is in no decoded document")


_INT32: Final = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_SCALARS: Final[dict[Scalar, Annotation]] = {
    Scalar.TEXT: str,
    Scalar.INT32: _INT32,
    Scalar.INT64: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    Scalar.FLOAT: int | float,
    Scalar.BOOL: bool,
    Scalar.BYTES: bytes,
    Scalar.QUANTITY: Quantity,
    # A time that is valid but not canonical fails here and is put right by the slow path.
    Scalar.TIME: Annotated[str, msgspec.Meta(pattern=CANONICAL_TIME)],
    Scalar.MICRO_TIME: Annotated[str, msgspec.Meta(pattern=CANONICAL_MICRO_TIME)],
    Scalar.INT_OR_STRING: _INT32 | str,
    Scalar.ANY: Any,
}


class Structs:
    """Makes the Struct of a definition, and of those that it refers to, when it is first asked for.

    Every field is optional, as Go has it: absent and null both give None, which is left out again. The fields' Python
    names are numbered, for Kubernetes has names such as `$ref` and `continue`.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._made: dict[str, type[msgspec.Struct]] = {}
        self._making: set[str] = set()
        self._referrers: dict[str, list[str]] = {}

    def of(self, name: str) -> type[msgspec.Struct]:
        """Return the Struct for the definition `name`."""
        made = self._made.get(name)
        return made if made is not None else self._make(name)

    def _make(self, name: str) -> type[msgspec.Struct]:
        self._making.add(name)
        fields: list[tuple[str, Annotation, Any]] = []
        names: dict[str, str] = {}
        for number, (field, definition) in enumerate(self._definitions.fields(name).items()):
            attribute = f"f{number}"
            names[attribute] = field
            annotation = self._annotation(self._definitions.shape(definition), name)
            fields.append((attribute, Optional[annotation], None))  # noqa: UP045 - may hold a forward reference
        struct = msgspec.defstruct(
            ObjectOf(name).type_name, fields, rename=names, forbid_unknown_fields=True, omit_defaults=True, gc=False
        )
        self._making.discard(name)
        self._made[name] = struct
        # msgspec looks for a forward reference's name in the namespace of the class that holds it.
        for referrer in self._referrers.pop(name, ()):
            setattr(self._made[referrer], _forward(name), struct)
        return struct

    def _annotation(self, shape: Shape, owner: str) -> Annotation:
        match shape:
            case Scalar():
                return _SCALARS[shape]
            case ListOf(item):
                return list[self._annotation(item, owner)]
            case MapOf(value):
                return dict[str, self._annotation(value, owner)]
            case ObjectOf(name):
                if name in self._making:
                    self._referrers.setdefault(name, []).append(owner)
                    return _forward(name)
                return self.of(name)


def _forward(name: str) -> str:
    return "_" + "".join(char if char.isalnum() else "_" for char in name)
