"""How long a job waits before it replaces pods that failed: 10 s, doubled up to 10 min. Pure.

k8s.io/kubernetes pkg/controller/job backoff_utils.go: failures count from the last success on; the wait begins when
the last pod failed, not when that was noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from orch.clock import parse_rfc3339
from orch.objects.pods import Pod

FIRST: Final = 10.0
LONGEST: Final = 600.0


class Backoff(msgspec.Struct, frozen=True):
    """How many pods failed since one succeeded, and when the last of them did."""

    failures: int = 0
    last_failure: datetime | None = None

    def after(self, succeeded: Sequence[Pod], failed: Sequence[Pod]) -> Backoff:
        """Return it with pods that have ended since."""
        success = max(map(finished_at, succeeded), default=None)
        before = self if success is None else Backoff()
        failures = [moment for moment in map(finished_at, failed) if success is None or moment > success]
        if not failures:
            return before
        return Backoff(before.failures + len(failures), max(failures))

    def remaining(self, now: datetime) -> float:
        """Return for how many seconds no pod is to be made."""
        return remaining(self.failures, self.last_failure, now)


def remaining(failures: int, last_failure: datetime | None, now: datetime) -> float:
    """Return for how many seconds there is to be no new attempt after so many failures."""
    if failures <= 0 or last_failure is None:
        return 0.0
    wait = min(FIRST * 2 ** min(failures - 1, 10), LONGEST)
    return max(0.0, wait - (now - last_failure).total_seconds())


def finished_at(pod: Pod) -> datetime:
    """Return when a pod ended: what its containers say, else its readiness, its deletion, its creation."""
    ends = _ends_of_containers(pod)
    if ends is not None:
        return ends
    ready = pod.status.condition("Ready")
    if ready is not None and ready.status == "False" and ready.last_transition_time:
        return parse_rfc3339(ready.last_transition_time)
    meta = pod.metadata
    if meta.deletion_timestamp:
        grace = timedelta(seconds=meta.deletion_grace_period_seconds or 0)
        return parse_rfc3339(meta.deletion_timestamp) - grace
    return parse_rfc3339(meta.creation_timestamp)


def _ends_of_containers(pod: Pod) -> datetime | None:
    """Return when the last container ended, None unless all have."""
    ended = [status.state.terminated for status in pod.status.container_statuses]
    times: Iterable[str] = [each.finished_at for each in ended if each is not None]
    moments = [parse_rfc3339(each) for each in times if each]
    return max(moments) if moments and len(moments) == len(ended) else None
