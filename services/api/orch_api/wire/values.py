"""What JSON shows as one value and protobuf carries as bytes: times, quantities, integers-or-texts, embedded JSON.

All but plain bytes are small messages, which Kubernetes writes and reads with code of its own; these functions do the
same. Those whose values repeat from object to object remember what they have translated.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from orch_api.wire.descriptors import small_class

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_ONE: Final = -62135596800  # the seconds of Go's zero time
_REMEMBERED: Final = 8192

_Text: Any = small_class("Text", (1, "string", "string", ""))
_Texts: Any = small_class("Texts", (1, "items", "string", "[]"))
_Raw: Any = small_class("Raw", (1, "raw", "bytes", ""))
_Timestamp: Any = small_class("Timestamp", (1, "seconds", "int64", ""), (2, "nanos", "int32", ""))
_IntOrString: Any = small_class(
    "IntOrString", (1, "type", "int64", ""), (2, "intVal", "int32", ""), (3, "strVal", "string", "")
)


class Value(msgspec.Struct, frozen=True):
    """How a type of value is translated; `decode` returns None for bytes that stand for no value."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _decode_bytes(data: bytes) -> str:
    return b64encode(data).decode("ascii")


@lru_cache(_REMEMBERED)
def _encode_quantity(value: str) -> bytes:
    return _Text(string=str(value)).SerializeToString()


@lru_cache(_REMEMBERED)
def _decode_quantity(data: bytes) -> str:
    return _Text.FromString(data).string or "0"


@lru_cache(_REMEMBERED)
def _encode_int_or_string(value: int | str) -> bytes:
    is_text = isinstance(value, str)
    chosen = _IntOrString(type=int(is_text), intVal=0 if is_text else value, strVal=value if is_text else "")
    return chosen.SerializeToString()


@lru_cache(_REMEMBERED)
def _decode_int_or_string(data: bytes) -> int | str:
    chosen = _IntOrString.FromString(data)
    return chosen.strVal if chosen.type else chosen.intVal


@lru_cache(_REMEMBERED)
def _encode_time(value: str | None) -> bytes:
    if value is None:  # in a map, Go's zero time is null
        return b""
    seconds = (datetime.fromisoformat(value) - _EPOCH) // timedelta(seconds=1)
    return _Timestamp(seconds=seconds, nanos=0).SerializeToString()


def _encode_micro_time(value: str) -> bytes:
    seconds, micros = divmod((datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1), 1_000_000)
    return _Timestamp(seconds=seconds, nanos=micros * 1000).SerializeToString()


@lru_cache(_REMEMBERED)
def _decode_time(data: bytes) -> str | None:
    instant = _instant(data)
    return None if instant is None else instant.isoformat(timespec="seconds") + "Z"


def _decode_micro_time(data: bytes) -> str | None:
    instant = _instant(data)
    return None if instant is None else instant.isoformat(timespec="microseconds") + "Z"


def _instant(data: bytes) -> datetime | None:
    """Return the time in UTC without its zone; None when it is Go's zero time, for which an empty message stands too.

    Raises ValueError when the time is out of range.
    """
    stamp = _Timestamp.FromString(data)
    if not data or (stamp.seconds == _YEAR_ONE and not stamp.nanos):
        return None
    try:
        return (_EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"{stamp.seconds} seconds from 1970 are beyond the range of times") from None


def _encode_json(value: Any) -> bytes:
    return _Raw(raw=msgspec.json.encode(value)).SerializeToString()


def _decode_json(data: bytes) -> Any:
    raw = _Raw.FromString(data).raw
    return msgspec.json.decode(raw) if raw else None


def _encode_texts(values: list[str]) -> bytes:
    return _Texts(items=values).SerializeToString()


def _decode_texts(data: bytes) -> list[str]:
    return list(_Texts.FromString(data).items)


VALUES: Final[Mapping[str, Value]] = {
    "bytes": Value(binascii.a2b_base64, _decode_bytes),
    "quantity": Value(_encode_quantity, _decode_quantity),
    "int-or-string": Value(_encode_int_or_string, _decode_int_or_string),
    "time": Value(_encode_time, _decode_time),
    "micro-time": Value(_encode_micro_time, _decode_micro_time),
    "json": Value(_encode_json, _decode_json),
    "texts": Value(_encode_texts, _decode_texts),
}
