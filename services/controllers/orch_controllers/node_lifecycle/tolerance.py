"""How long a pod may stay on a node with taints (k8s.io/kubernetes pkg/controller/tainteviction). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from orch.objects.cluster import Taint
from orch.objects.pods import Toleration
from orch.objects.taints import covers


def seconds_tolerated(
    tolerations: Sequence[Toleration],
    taints: Sequence[Taint],
    since: Callable[[Taint], datetime],
    now: datetime,
) -> float | None:
    """Return in how many seconds a pod must leave, None when it may stay for good.

    Every taint must be tolerated. Of the tolerations that cover a taint the first counts; the shortest time of all
    decides. `since` says from when on the pod has been exposed to a taint.
    """
    shortest: float | None = None
    for taint in taints:
        covering = next((each for each in tolerations if covers(each, taint)), None)
        if covering is None:
            return 0.0
        if covering.toleration_seconds is None:
            continue
        limit = max(covering.toleration_seconds, 0)
        left = max(limit - (now - since(taint)).total_seconds(), 0.0)
        shortest = left if shortest is None else min(shortest, left)
    return shortest
