"""Sets of completion indexes, and the short form in which a job's status writes them: "1,3-5,7". Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from orch.objects.pods import Pod

COMPLETION_INDEX: Final = "batch.kubernetes.io/job-completion-index"
"""The annotation, and the label, that tell a pod which index it works on."""

Interval = tuple[int, int]


class Indexes(msgspec.Struct, frozen=True):
    """Indexes as intervals that do not touch, in order; a job may have 100,000 of them."""

    intervals: tuple[Interval, ...] = ()

    @classmethod
    def of(cls, indexes: Iterable[int]) -> Indexes:
        """Return the set of some indexes."""
        return cls(_merged((index, index) for index in sorted(set(indexes))))

    @classmethod
    def parse(cls, text: str, completions: int) -> Indexes:
        """Return what a status says. Indexes that the job no longer has, and what cannot be read, are left out."""
        found = (_interval(fragment) for fragment in text.split(","))
        kept = ((first, min(last, completions - 1)) for first, last in filter(None, found) if first < completions)
        return cls(_merged(sorted(kept)))

    @property
    def total(self) -> int:
        """How many indexes there are."""
        return sum(last - first + 1 for first, last in self.intervals)

    def __contains__(self, index: int) -> bool:
        place = bisect_right(self.intervals, (index, float("inf"))) - 1
        return place >= 0 and index <= self.intervals[place][1]

    def __iter__(self) -> Iterator[int]:
        for first, last in self.intervals:
            yield from range(first, last + 1)

    def __or__(self, other: Indexes) -> Indexes:
        if not other.intervals or not self.intervals:
            return self if self.intervals else other
        return Indexes(_merged(sorted((*self.intervals, *other.intervals))))

    def __str__(self) -> str:
        return ",".join(_written(first, last) for first, last in self.intervals)

    def missing(self, count: int, completions: int) -> list[int]:
        """Return the first `count` indexes below `completions` that are not in the set."""
        found: list[int] = []
        candidate = 0
        for first, last in (*self.intervals, (completions, completions)):
            end = min(first, completions, candidate + count - len(found))
            found.extend(range(candidate, end))
            candidate = max(candidate, last + 1)
            if len(found) >= count:
                break
        return found


def index_of(pod: Pod) -> int | None:
    """Return the index that a pod works on, None when it says none."""
    text = pod.metadata.annotations.get(COMPLETION_INDEX, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _interval(fragment: str) -> Interval | None:
    first, _, last = fragment.partition("-")
    if not (first.isascii() and first.isdecimal()) or (last and not (last.isascii() and last.isdecimal())):
        return None
    bounds = int(first), int(last or first)
    return bounds if bounds[0] <= bounds[1] else None


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return intervals, given in order, with those joined that overlap or follow one another."""
    joined: list[Interval] = []
    for first, last in intervals:
        if joined and first <= joined[-1][1] + 1:
            if last > joined[-1][1]:
                joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _written(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}{',' if last == first + 1 else '-'}{last}"
