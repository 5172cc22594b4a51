"""Quantities and times as Kubernetes reads and writes them; errors are worded as Go's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from orch import quantity
from orch.quoting import quote

RFC3339: Final = "2006-01-02T15:04:05Z07:00"
RFC3339_MICRO: Final = "2006-01-02T15:04:05.000000Z07:00"

_DATE = (
    r"[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
# Times that need no change. Others, the 29th of February among them, are looked at by canonical_time.
CANONICAL_TIME: Final = rf"\A{_DATE}T{_CLOCK}Z\Z"
CANONICAL_MICRO_TIME: Final = rf"\A{_DATE}T{_CLOCK}\.[0-9]{{6}}Z\Z"

_PIECES = re.compile(r"2006|01|02|15|04|05|\.000000|Z07:00|[^0-9]")
_RANGES: Final = {"01": ("month", 1, 12), "15": ("hour", 0, 23), "04": ("minute", 0, 59), "05": ("second", 0, 59)}
_DIGITS: Final = {
    "2006": re.compile(r"[0-9]{4}"),
    "01": re.compile(r"[0-9]{2}"),
    "02": re.compile(r"[0-9]{2}"),
    "15": re.compile(r"[0-9]{1,2}"),
    "04": re.compile(r"[0-9]{2}"),
    "05": re.compile(r"[0-9]{2}"),
    ".000000": re.compile(r"[.,][0-9]{6}"),
}
_ZONE = re.compile(r"Z|([+-])([0-9]{2}):([0-9]{2})")
_FRACTION = re.compile(r"[.,][0-9]+")


def canonical_quantity(text: str) -> str:
    """Return the quantity as Kubernetes writes it: "1000m" is "1". Raises ValueError worded as Kubernetes."""
    return quantity.canonical(text.strip())


def canonical_time(text: str) -> str | None:
    """Return the time in UTC with seconds, None for Go's zero time. Raises ValueError worded as Go's time.Parse."""
    return _canonical(text, RFC3339, "seconds")


def canonical_micro_time(text: str) -> str | None:
    """Return the time in UTC with microseconds, None for Go's zero time. Raises ValueError as canonical_time does."""
    return _canonical(text, RFC3339_MICRO, "microseconds")


def _canonical(text: str, layout: str, precision: str) -> str | None:
    parts = _parse(text, layout)
    try:
        day = datetime(parts["2006"], parts["01"], parts["02"])  # noqa: DTZ001 - the zone follows once the day is valid
    except ValueError:
        if parts["2006"] == 0:  # Go has a year 0, Python has not; such a time is no instant that a cluster saw
            return text
        raise ValueError(f"parsing time {quote(text)}: day out of range") from None
    zone = timezone(timedelta(minutes=parts["Z07:00"]))
    clock = timedelta(hours=parts["15"], minutes=parts["04"], seconds=parts["05"], microseconds=parts[".000000"])
    try:
        instant = (day + clock).replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return text
    if instant == datetime(1, 1, 1, tzinfo=UTC):
        return None
    return instant.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _parse(text: str, layout: str) -> dict[str, int]:
    """Return the numbers of `text` by the piece of `layout` that they stand for, the zone in minutes."""
    parts = {".000000": 0}
    rest = text
    for piece in _PIECES.findall(layout):
        digits = _DIGITS.get(piece)
        if piece == "Z07:00":
            parts[piece], rest = _zone(text, layout, rest)
        elif digits is None:
            if not rest.startswith(piece):
                raise _unparsable(text, layout, rest, piece)
            rest = rest[len(piece) :]
        else:
            found = digits.match(rest)
            if found is None:
                raise _unparsable(text, layout, rest, piece)
            parts[piece] = int(found[0].lstrip(".,"))
            rest = rest[found.end() :]
            name, least, most = _RANGES.get(piece, ("", 0, 9_999_999))
            if not least <= parts[piece] <= most:
                raise ValueError(f"parsing time {quote(text)}: {name} out of range")
            if piece == "05" and layout is RFC3339:  # Go accepts a fraction that the layout does not ask for
                fraction = _FRACTION.match(rest)
                rest = rest[fraction.end() :] if fraction else rest
    if rest:
        raise ValueError(f"parsing time {quote(text)}: extra text: {quote(rest)}")
    return parts


def _zone(text: str, layout: str, rest: str) -> tuple[int, str]:
    found = _ZONE.match(rest)
    if found is None:
        raise _unparsable(text, layout, rest, "Z07:00")
    if found[1] is None:
        return 0, rest[1:]
    hours, minutes = int(found[2]), int(found[3])
    if hours > 23:  # Go lets 24 pass, which no clock shows
        raise ValueError(f"parsing time {quote(text)}: time zone offset hour out of range")
    if minutes > 59:
        raise ValueError(f"parsing time {quote(text)}: time zone offset minute out of range")
    offset = hours * 60 + minutes
    return (-offset if found[1] == "-" else offset), rest[found.end() :]


def _unparsable(text: str, layout: str, rest: str, piece: str) -> ValueError:
    return ValueError(f"parsing time {quote(text)} as {quote(layout)}: cannot parse {quote(rest)} as {quote(piece)}")
