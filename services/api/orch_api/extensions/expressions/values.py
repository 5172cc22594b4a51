"""Documents as expressions see them: names escaped, texts of some formats as moments, durations and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from typing import Any, Final, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from orch_api.extensions import formats
from orch_api.extensions.expressions.messages import as_resource, escape
from orch_api.extensions.props import Props

_INT64: Final = 2**63


def visible(value: Any, props: Props) -> Any:
    """Return a value in the form in which expressions are given it."""
    if props.int_or_string:
        return value
    if isinstance(value, dict):
        return _visible_map(cast("dict[str, Any]", value), as_resource(props) if props.embedded else props)
    if isinstance(value, list) and props.item is not None:
        return [visible(item, props.item) for item in cast("list[Any]", value)]
    return _visible_scalar(value, props)


def _visible_map(value: dict[str, Any], props: Props) -> dict[str, Any]:
    additional = props.additional
    if additional is not None:
        return {key: visible(inner, additional) for key, inner in value.items()}
    return {
        escape(key): visible(inner, props.properties[key])
        for key, inner in value.items()
        if key in props.properties and escape(key)
    }


def _visible_scalar(value: Any, props: Props) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        if props.type == "number":
            return float(value)
        return int(value) if abs(value) < _INT64 else float(value)
    read = _FORMATS.get(props.format) if isinstance(value, str) and props.type == "string" else None
    if read is None:
        return value
    found = read(value)
    return value if found is None else found


def _moment(found: datetime | None) -> Timestamp | None:
    """Return a moment as the runtime takes it inside of maps and lists: as a message."""
    if found is None:
        return None
    made = Timestamp()
    made.FromDatetime(found)
    return made


def _date_time(text: str) -> Timestamp | None:
    return _moment(formats.date_time(text))


def _date(text: str) -> Timestamp | None:
    found = formats.full_date(text)
    return None if found is None else _moment(datetime.combine(found, time(), UTC))


def _duration(text: str) -> Duration | None:
    found = formats.duration(text)
    if found is None:
        return None
    made = Duration()
    made.FromNanoseconds(round(found * 1e9))
    return made


_FORMATS: Final[Mapping[str, Callable[[str], Any]]] = {
    "byte": formats.decoded,
    "date": _date,
    "date-time": _date_time,
    "duration": _duration,
}
