"""CBOR (RFC 8949) from clients and for them, with the conventions of k8s.io/apimachinery's cbor serializer.

Texts are byte strings, maps are sorted, floats as short as they can be, and every document begins with the tag that
says that it is CBOR. What comes is plain data or refused: tags that would stand for anything else are not followed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, cast

import cbor2
import msgspec

from orch.errors import BadRequestError

MEDIA_TYPE: Final = "application/cbor"
SEQUENCE: Final = "application/cbor-seq"
"""The content type of a watch: one item after the other (RFC 8742)."""

APPLY: Final = "application/apply-patch+cbor"
MAX_VALUES: Final = 1_000_000

_SELF_DESCRIBED: Final = b"\xd9\xd9\xf7"

_REFERENCES: Final = (25, 28, 29, 256)
"""Tags by which a value stands for another one: with them, a few bytes could become gigabytes."""


def _refuse(*_: object) -> NoReturn:
    raise ValueError("references to other values are not supported")


_REFUSED: Final[Mapping[int, Callable[..., NoReturn]]] = dict.fromkeys(_REFERENCES, _refuse)


def cbor_to_json(body: bytes) -> bytes:
    """Return a CBOR document as JSON. Raises BadRequestError."""
    try:
        found = cbor2.loads(body.removeprefix(_SELF_DESCRIBED), semantic_decoders=_REFUSED)
        return msgspec.json.encode(_Reading().plain(found))
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadRequestError(f"error decoding CBOR: {error}") from error


def json_to_cbor(document: bytes) -> bytes:
    """Return a JSON document as CBOR."""
    return _SELF_DESCRIBED + cbor2.dumps(_as_bytes(msgspec.json.decode(document)), canonical=True)


def watch_event(kind: str, document: bytes) -> bytes:
    """Return an item of a watch about an object in JSON."""
    event = {"type": kind, "object": msgspec.json.decode(document)}
    return _SELF_DESCRIBED + cbor2.dumps(_as_bytes(event), canonical=True)


def _as_bytes(value: Any) -> Any:
    """Return a value of JSON with its texts as byte strings, as Kubernetes writes them."""
    match value:
        case str():
            return value.encode()
        case dict():
            return {name.encode(): _as_bytes(inner) for name, inner in cast("dict[str, Any]", value).items()}
        case list():
            return [_as_bytes(inner) for inner in cast("list[Any]", value)]
        case _:
            return value


class _Reading:
    """Makes JSON's values of what was decoded, as many of them as a document may have."""

    def __init__(self) -> None:
        self._count = 0

    def plain(self, value: Any) -> Any:
        """Return a value as JSON has it. Raises ValueError for what JSON has no value for."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values")
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                if value != value or abs(value) == float("inf"):  # noqa: PLR0124 - what is no number differs from itself
                    raise ValueError("floating-point NaN and infinities are not accepted")
                return value
            case bytes():
                return value.decode()
            case list() | tuple():
                return [self.plain(inner) for inner in cast("list[Any]", value)]
            case Mapping():
                return self._map(cast("Mapping[Any, Any]", value))
            case cbor2.CBORTag():
                return self._tagged(value)
            case _:
                raise ValueError(f"a value of type {type(value).__name__} has no place in a document")

    def _map(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, inner in value.items():
            if not isinstance(name, str | bytes):
                raise ValueError("names of fields have to be strings")  # noqa: TRY004 - reported as one of bad input
            text = name if isinstance(name, str) else name.decode()
            if text in result:
                raise ValueError(f'duplicate field "{text}"')
            result[text] = self.plain(inner)
        return result

    def _tagged(self, tag: cbor2.CBORTag) -> Any:
        """Return what a tag says how to show bytes as; other tags that nobody gave a meaning say nothing."""
        content = tag.value
        if isinstance(content, bytes):
            match tag.tag:
                case 21:
                    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
                case 22:
                    return base64.b64encode(content).decode()
                case 23:
                    return content.hex().upper()
                case _:
                    pass
        return self.plain(content)
