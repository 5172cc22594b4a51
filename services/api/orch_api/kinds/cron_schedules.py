"""What the api asks about the schedules of cron jobs; what they mean is the library's to say."""

from __future__ import annotations

from functools import lru_cache

from orch import cron

is_zone = cron.is_zone


@lru_cache(1024)
def schedule_problem(schedule: str) -> str:
    """Return why a text is no schedule, empty when it is one."""
    try:
        cron.parse(schedule)
    except ValueError as error:
        return str(error)
    return ""
