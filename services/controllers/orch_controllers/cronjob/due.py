"""Which moment of a schedule a job is due for (k8s.io/kubernetes pkg/controller/cronjob utils.go). Pure.

However many moments were missed, the last of them is the one that counts. They are counted roughly, from the distance
of the first two, so that a clock that was wrong by years costs nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from orch.cron import Schedule

MANY: Final = 100
"""Missed moments from which on people are warned."""
DELTA: Final = timedelta(milliseconds=100)
"""How long after a moment it is looked at, so that clocks may differ a little."""

_NEVER: Final = "time difference between two schedules is less than 1 second"


class Due(msgspec.Struct, frozen=True):
    """The last moment of a schedule that has come, None when none has, and about how many have."""

    moment: datetime | None
    missed: int = 0


def last_due(schedule: Schedule, since: datetime, now: datetime) -> Due:
    """Return the last moment after `since`. Raises ValueError for a schedule whose time never comes."""
    first = schedule.next(since)
    second = None if first is None else schedule.next(first)
    if first is None or second is None:
        raise ValueError(_NEVER)
    if now < first:
        return Due(None)
    if now < second:
        return Due(first, 1)
    distance = round((second - first).total_seconds())
    if distance < 1:
        raise ValueError(_NEVER)
    missed = int((now - first).total_seconds()) // distance + 1
    moment = schedule.next(first + timedelta(seconds=(missed - 2) * distance))
    last: datetime | None = None
    while moment is not None and moment <= now:
        last = moment
        moment = schedule.next(moment)
    return Due(last, missed)


def next_due(schedule: Schedule, since: datetime, now: datetime) -> timedelta:
    """Return in how long the schedule has to be looked at again."""
    try:
        due = last_due(schedule, since, now)
    except ValueError:
        begin = now
    else:
        begin = due.moment or (now if due.missed else since)
    following = schedule.next(begin)
    return timedelta(days=1) if following is None else following + DELTA - now
