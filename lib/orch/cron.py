"""Cron's notation of when something happens, as Kubernetes reads it (robfig/cron, ParseStandard).

    minute hour day-of-month month day-of-week     each a list of N, N-M, *, ?, with an optional /STEP
    @yearly @annually @monthly @weekly @daily @midnight @hourly     or     @every 1h30m

A schedule may begin with TZ=ZONE or CRON_TZ=ZONE, which the api refuses for reasons of its own. A minute is meant when
the clock on the wall shows it: one that the clock leaps over does not come, one that it shows twice comes twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import msgspec

_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EVERY: Final = "@every "
_DURATION: Final = re.compile(r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_YEARS: Final = 5
"""Years after which a moment that has not come counts as one that never will."""
_LONGEST: Final = 100 * 366 * 86400
_MINUTE: Final = timedelta(minutes=1)


class Schedule(Protocol):
    """When something happens."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first moment after another, None when there is none within five years."""
        ...


class _Bounds(msgspec.Struct, frozen=True):
    """What a field of the schedule may hold."""

    low: int
    high: int
    names: dict[str, int] = {}


class _Field(msgspec.Struct, frozen=True):
    """The values of a field, and whether it leaves them open (`*`)."""

    values: frozenset[int]
    open: bool


_FIELDS: Final = (
    _Bounds(0, 59),
    _Bounds(0, 23),
    _Bounds(1, 31),
    _Bounds(1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Bounds(0, 6, {name: number for number, name in enumerate(_DAYS)}),
)


class Interval(msgspec.Struct, frozen=True):
    """@every: so many seconds after the last time."""

    seconds: int

    def next(self, after: datetime) -> datetime | None:
        """Return the first moment after another, in whole seconds."""
        return after.replace(microsecond=0) + timedelta(seconds=self.seconds)


class Calendar:
    """Minutes that the clock of a place shows."""

    def __init__(self, fields: tuple[_Field, ...], zone: tzinfo) -> None:
        self._minutes, self._hours, self._days, self._months, self._weekdays = fields
        self._zone = zone

    def next(self, after: datetime) -> datetime | None:
        """Return the first moment after another, None when there is none within five years."""
        if not self._minutes.values or not self._hours.values:
            return None
        moment = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        last = moment.astimezone(self._zone).year + _YEARS
        while True:
            local = moment.astimezone(self._zone)
            if local.year > last:
                return None
            minutes = self._wait(local)
            if not minutes:
                return moment
            moment = self._advance(moment, local, minutes)

    def _wait(self, local: datetime) -> int:
        """Return for how many minutes on the wall nothing can happen, 0 when something happens now."""
        today = local.hour * 60 + local.minute
        if local.month not in self._months.values or not self._is_day(local):
            return 24 * 60 - today
        if local.hour not in self._hours.values:
            return 60 - local.minute
        if local.minute not in self._minutes.values:
            later = [minute for minute in self._minutes.values if minute > local.minute]
            return min(later, default=60) - local.minute
        return 0

    def _is_day(self, local: datetime) -> bool:
        """Return whether it is a day of the schedule: of two fields that both name days one suffices."""
        day = local.day in self._days.values
        weekday = local.isoweekday() % 7 in self._weekdays.values
        if self._days.open or self._weekdays.open:
            return day and weekday
        return day or weekday

    def _advance(self, moment: datetime, local: datetime, minutes: int) -> datetime:
        """Return the moment in so many minutes, or one before at which the clock has not been changed yet."""
        for step in (minutes, 60 - local.minute, 1):
            later = moment + timedelta(minutes=min(step, minutes))
            if later.astimezone(self._zone).utcoffset() == local.utcoffset():
                return later
        return moment + _MINUTE


@lru_cache(1024)
def parse(schedule: str, zone: str = "") -> Schedule:
    """Return the schedule; `zone` is that of its clock, UTC unless it is given.

    Raises ValueError, in the words of Kubernetes, for what is none.
    """
    if not schedule:
        raise ValueError("empty spec string")
    clock = ZoneInfo(zone) if zone else UTC
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, schedule = schedule.partition(" ")
        named = prefix.partition("=")[2]
        if not is_zone(named):
            raise ValueError(f"provided bad location {named}: unknown time zone {named}")
        clock = UTC if named in {"", "UTC", "Local"} else ZoneInfo(named)
        schedule = schedule.strip()
    if schedule.startswith(_EVERY):
        return _interval(schedule)
    if schedule.startswith("@"):
        if schedule not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {schedule}")
        schedule = _DESCRIPTORS[schedule]
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(parts)}: [{' '.join(parts)}]")
    return Calendar(tuple(_field(*pair) for pair in zip(parts, _FIELDS, strict=True)), clock)


@lru_cache(1024)
def is_zone(name: str) -> bool:
    """Return whether a time zone of this name is known."""
    if name in {"", "UTC", "Local"}:
        return True
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # no name of a file; not there; a folder of zones
        return False
    return True


def _interval(text: str) -> Interval:
    duration = text.removeprefix(_EVERY)
    if not _DURATION.fullmatch(duration):
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(duration))
    return Interval(max(1, min(int(seconds), _LONGEST)) if not duration.startswith("-") else 1)


def _field(text: str, bounds: _Bounds) -> _Field:
    values: set[int] = set()
    is_open = False
    for expression in text.split(","):
        if expression:
            span, step = _range(expression, bounds)
            values.update(span)
            is_open = is_open or (step == 1 and expression[0] in "*?")
    return _Field(frozenset(values), is_open)


def _range(expression: str, bounds: _Bounds) -> tuple[range, int]:
    """Return the values of one expression and its step. Raises ValueError."""
    span, *steps = expression.split("/")
    low, *highs = span.split("-")
    if low in {"*", "?"}:
        start, end = bounds.low, bounds.high
    else:
        start = end = _number(low, bounds)
        if len(highs) > 1:
            raise ValueError(f"too many hyphens: {expression}")
        if highs:
            end = _number(highs[0], bounds)
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {expression}")
    step = _integer(steps[0]) if steps else 1
    if steps and not highs:
        end = bounds.high
    if start < bounds.low:
        raise ValueError(f"beginning of range ({start}) below minimum ({bounds.low}): {expression}")
    if end > bounds.high:
        raise ValueError(f"end of range ({end}) above maximum ({bounds.high}): {expression}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {expression}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {expression}")
    return range(start, end + 1, step), step


def _number(text: str, bounds: _Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _integer(text) if named is None else named


def _integer(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
