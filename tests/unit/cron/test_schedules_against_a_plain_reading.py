"""The next time of a schedule against looking at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orch.cron import parse

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"]
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@st.composite
def fields(draw: st.DrawFn) -> list[tuple[str, set[int], bool]]:
    """Draw five fields: as text, as values, and whether they are open."""
    drawn = []
    for low, high in BOUNDS:
        form = draw(st.sampled_from(["*", "N", "N-M", "*/S", "N/S", "list", "N-M/S"]))
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        step = draw(st.integers(2, 7))
        drawn.append(
            {
                "*": ("*", set(range(low, high + 1)), True),
                "N": (str(first), {first}, False),
                "N-M": (f"{first}-{last}", set(range(first, last + 1)), False),
                "*/S": (f"*/{step}", set(range(low, high + 1, step)), False),
                "N/S": (f"{first}/{step}", set(range(first, high + 1, step)), False),
                "list": (f"{first},{last}", {first, last}, False),
                "N-M/S": (f"{first}-{last}/{step}", set(range(first, last + 1, step)), False),
            }[form]
        )
    return drawn


def shows(drawn: list[tuple[str, set[int], bool]], local: datetime) -> bool:
    minute, hour, day, month, weekday = (values for _, values, _ in drawn)
    either = local.day in day or local.isoweekday() % 7 in weekday
    both = local.day in day and local.isoweekday() % 7 in weekday
    is_day = both if drawn[2][2] or drawn[4][2] else either
    return local.minute in minute and local.hour in hour and local.month in month and is_day


@given(
    drawn=fields(),
    zone=st.sampled_from(ZONES),
    start=st.one_of(
        st.integers(0, 4 * 366 * 24 * 60).map(lambda minutes: at("2023-01-01") + timedelta(minutes=minutes)),
        st.sampled_from([at("2026-03-28T23:00:00"), at("2026-10-24T22:00:00"), at("2026-04-04T10:00:00")]),
    ),
)
@settings(max_examples=60, deadline=None)
@example(
    [("30", {30}, False), ("2", {2}, False), *[("*", set(range(32)), True)] * 3],
    "Europe/Berlin",
    at("2026-03-28T12:00:00"),
)
@example(
    [("30", {30}, False), ("2", {2}, False), *[("*", set(range(32)), True)] * 3],
    "Europe/Berlin",
    at("2026-10-24T12:00:00"),
)
def test_the_next_time_is_the_first_minute_that_matches(
    drawn: list[tuple[str, set[int], bool]], zone: str, start: datetime
) -> None:
    place = ZoneInfo(zone)
    schedule = parse(" ".join(text for text, _, _ in drawn), zone)
    found = schedule.next(start)
    moment = start.replace(second=0, microsecond=0)
    for _ in range(3 * 24 * 60):
        moment += timedelta(minutes=1)
        if shows(drawn, moment.astimezone(place)):
            assert found == moment
            return
    assert found is None or (found > moment and shows(drawn, found.astimezone(place)))


def test_a_time_that_the_clock_leaps_over_does_not_come_and_one_that_it_shows_twice_comes_twice() -> None:
    schedule = parse("30 2 * * *", "Europe/Berlin")
    assert schedule.next(at("2026-03-28T12:00:00")) == at("2026-03-30T00:30:00")
    first = schedule.next(at("2026-10-24T12:00:00"))
    assert first == at("2026-10-25T00:30:00")
    assert schedule.next(first) == at("2026-10-25T01:30:00")


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "0 0 30 2 ?", "59 23 31 4,6,9,11 *", ", * * * *"])
def test_what_never_comes(schedule: str) -> None:
    assert parse(schedule).next(at("2026-01-01T00:00:00")) is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("@yearly", at("2027-01-01T00:00:00")),
        ("@monthly", at("2026-07-01T00:00:00")),
        ("@weekly", at("2026-06-07T00:00:00")),
        ("@daily", at("2026-06-04T00:00:00")),
        ("@hourly", at("2026-06-03T11:00:00")),
        ("@every 90m", at("2026-06-03T11:47:12")),
        ("@every 1h30m10s", at("2026-06-03T11:47:22")),
        ("@every 10ms", at("2026-06-03T10:17:13")),
        ("@every -1h", at("2026-06-03T10:17:13")),
        ("0 9 * * MON-fri", at("2026-06-04T09:00:00")),
        ("0 9 1 jan,JUL ?", at("2026-07-01T09:00:00")),
        ("0 0 13 * 5", at("2026-06-05T00:00:00")),
        ("0 0 29 2 *", at("2028-02-29T00:00:00")),
        ("TZ=Asia/Tokyo 0 0 * * *", at("2026-06-03T15:00:00")),
        ("CRON_TZ=UTC 0 0 * * *", at("2026-06-04T00:00:00")),
    ],
)
def test_forms(schedule: str, expected: datetime) -> None:
    assert parse(schedule).next(at("2026-06-03T10:17:12.000005")) == expected


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("", "empty spec string"),
        ("* * * *", r"expected exactly 5 fields, found 4: \[\* \* \* \*\]"),
        ("60 * * * *", r"end of range \(60\) above maximum \(59\): 60"),
        ("5-1 * * * *", r"beginning of range \(5\) beyond end of range \(1\): 5-1"),
        ("* * 0 * *", r"beginning of range \(0\) below minimum \(1\): 0"),
        ("*/0 * * * *", "step of range should be a positive number"),
        ("1-2-3 * * * *", "too many hyphens"),
        ("1/2/3 * * * *", "too many slashes"),
        ("x * * * *", "failed to parse int from x"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("@every soon", "failed to parse duration @every soon"),
        ("TZ=Mars/Olympus * * * * *", "provided bad location Mars/Olympus"),
    ],
)
def test_what_is_no_schedule(schedule: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(schedule)
