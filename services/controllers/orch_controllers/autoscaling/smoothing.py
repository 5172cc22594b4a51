"""From counters of processor time to a reading that a step changes within three seconds and one noisy second does not.

The reading is the mean of the last 15 seconds (the period over which Kubernetes' metrics-server measures), without the
highest and the lowest of them. When three samples in a row lie on the same side of what came before, by more than a
tenth, the load has changed, and what came before is dropped. Of fewer than five samples the median counts.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

import msgspec

NANO: Final = 1_000_000_000
_WINDOW: Final = 15 * NANO
_AGREEING: Final = 3
_TRIMMED: Final = 5
_MARGIN: Final = 0.1
_NOISE: Final = 0.005 * NANO
"""Nanoseconds a second that are no change in any case: 5m."""


class Rate(msgspec.Struct, frozen=True, gc=False):
    """So many nanoseconds of processor time a second, between two moments."""

    begun: int
    ended: int
    amount: float


class Reading(msgspec.Struct, frozen=True, gc=False):
    """An amount a second, when it was last measured, and over what time; all in nanoseconds."""

    amount: float
    at: int
    window: int


class Rates:
    """The rates of one container that still count."""

    __slots__ = ("_rates",)

    def __init__(self) -> None:
        self._rates: deque[Rate] = deque()

    def add(self, rate: Rate) -> None:
        """Take the newest rate."""
        rates = self._rates
        rates.append(rate)
        while rates[0].ended <= rate.ended - _WINDOW:
            rates.popleft()
        if len(rates) > _AGREEING and _has_stepped(rates):
            while len(rates) > _AGREEING:
                rates.popleft()

    def reading(self, since: int = 0) -> Reading | None:
        """Return what the rates come to, if possible of those only that begin at `since` or later."""
        fresh = [rate for rate in self._rates if rate.begun >= since]
        rates = fresh or list(self._rates)
        if not rates:
            return None
        window = rates[-1].ended - rates[0].begun
        if len(rates) < _TRIMMED:
            return Reading(statistics.median(rate.amount for rate in rates), rates[-1].ended, window)
        kept = sorted(rates, key=_amount)[1:-1]
        return Reading(_mean(kept), rates[-1].ended, window)


def _has_stepped(rates: deque[Rate]) -> bool:
    """Return whether the newest rates agree that those before them tell of another load."""
    listed = list(rates)
    before = _mean(listed[:-_AGREEING])
    margin = max(_MARGIN * before, _NOISE)
    newest = [rate.amount for rate in listed[-_AGREEING:]]
    return min(newest) > before + margin or max(newest) < before - margin


def _mean(rates: list[Rate]) -> float:
    """Return the mean, each rate weighted by how long it was measured."""
    lasted = sum(rate.ended - rate.begun for rate in rates)
    return sum(rate.amount * (rate.ended - rate.begun) for rate in rates) / lasted


def _amount(rate: Rate) -> float:
    return rate.amount
