"""Histograms of use whose old samples count less and less: half as much for each day.

The buckets grow by a twentieth each, so that a percentile is exact to 5 % and the width of the first bucket. Instead
of all weights shrinking with time, newer samples weigh more relative to a reference moment, which is moved when the
numbers become large.
"""

from __future__ import annotations

import math
from typing import Final

from orch_pb.v1.autoscaling_pb2 import UsageHistogram

DAY: Final = 86_400.0
_NANO: Final = 1_000_000_000
_GROWTH: Final = 1.05
_EPSILON: Final = 0.0001
"""Weights below this say nothing."""
_MOST_HALVINGS: Final = 100.0


class Histogram:
    """Amounts in buckets: the first up to `first`, each further one a twentieth wider, up to `most`."""

    __slots__ = ("_first", "_reference", "_weights", "buckets")

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self.buckets = math.ceil(math.log(most * (_GROWTH - 1) / first + 1, _GROWTH)) + 1
        self._weights: dict[int, float] = {}
        self._reference = 0.0

    @property
    def empty(self) -> bool:
        """Whether no sample counts."""
        return not self._weights

    def add(self, amount: float, weight: float, at: float) -> None:
        """Count a sample taken at a moment in seconds."""
        bucket = self._bucket(amount)
        self._weights[bucket] = self._weights.get(bucket, 0.0) + weight * self._worth(at)

    def subtract(self, amount: float, weight: float, at: float) -> None:
        """Take back a sample."""
        bucket = self._bucket(amount)
        left = self._weights.get(bucket, 0.0) - weight * self._worth(at)
        if left > _EPSILON * max(self._weights.values(), default=0.0):
            self._weights[bucket] = left
        else:
            self._weights.pop(bucket, None)

    def percentile(self, share: float) -> float:
        """Return the amount below which `share` of the weight lies: the end of its bucket; 0 when there is none."""
        if self.empty:
            return 0.0
        threshold, seen = share * sum(self._weights.values()), 0.0
        bucket = 0
        for bucket in sorted(self._weights):
            seen += self._weights[bucket]
            if seen >= threshold:
                break
        return self._end(bucket)

    def save(self) -> UsageHistogram:
        """Return what `load` takes."""
        heaviest = max(self._weights.values(), default=1.0)
        kept = {bucket: weight for bucket, weight in self._weights.items() if weight > _EPSILON * heaviest}
        return UsageHistogram(buckets=kept, weights=kept.values(), reference=int(self._reference * _NANO))

    def load(self, saved: UsageHistogram) -> None:
        """Become what was saved; what makes no sense is left out."""
        pairs = zip(saved.buckets, saved.weights, strict=False)
        self._weights = {bucket: weight for bucket, weight in pairs if bucket < self.buckets and 0 < weight < math.inf}
        self._reference = saved.reference / _NANO

    def _worth(self, at: float) -> float:
        """Return how much a sample of a moment weighs beside one of the reference."""
        if not self._weights:
            self._reference = at
        halvings = (at - self._reference) / DAY
        if halvings > _MOST_HALVINGS:
            self._rebase(at)
            halvings = 0.0
        return 2.0**halvings

    def _rebase(self, at: float) -> None:
        factor = 2.0 ** -((at - self._reference) / DAY)
        self._weights = {bucket: weight * factor for bucket, weight in self._weights.items()}
        self._weights = {bucket: weight for bucket, weight in self._weights.items() if weight > 0}
        self._reference = at

    def _bucket(self, amount: float) -> int:
        if amount < self._first:
            return 0
        return min(int(math.log(amount * (_GROWTH - 1) / self._first + 1, _GROWTH)), self.buckets - 1)

    def _end(self, bucket: int) -> float:
        """Return the upper end of a bucket; of the last one, which has none, its beginning."""
        if bucket == self.buckets - 1:
            return self._start(bucket)
        return self._start(bucket + 1)

    def _start(self, bucket: int) -> float:
        return self._first * (_GROWTH**bucket - 1) / (_GROWTH - 1)
