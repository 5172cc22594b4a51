"""Which replicas go first when there are too many (k8s.io/kubernetes pkg/controller ActivePodsWithRanks)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orch.clock import parse_rfc3339
from orch.objects.pods import Pod
from orch_controllers.pod_state import is_ready, ready_since

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_PHASES: Final = {"Pending": 0, "Unknown": 1, "Running": 2}


def first_to_go(pods: Sequence[Pod], related: Sequence[Pod], count: int, now: datetime) -> list[Pod]:
    """Return the `count` pods to delete.

    In order: not on a node, pending, not ready, cheap to delete, on a node with more related pods, ready for a shorter
    time, restarted more often, younger. Times count by powers of two, so that near ones are equal.
    """
    crowd = Counter(pod.spec.node_name for pod in related if pod.spec.node_name)

    def rank(pod: Pod) -> tuple[object, ...]:
        since = ready_since(pod)
        created = pod.metadata.creation_timestamp
        return (
            bool(pod.spec.node_name),
            _PHASES.get(pod.status.phase, 0),
            is_ready(pod),
            _cost(pod),
            -crowd[pod.spec.node_name],
            _bucket(since, now) if since else 0,
            -max((status.restart_count for status in pod.status.container_statuses), default=0),
            _bucket(parse_rfc3339(created), now) if created else 0,
            pod.metadata.name,
        )

    return sorted(pods, key=rank)[:count]


def _cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _bucket(moment: datetime, now: datetime) -> int:
    return int(math.log2(max((now - moment).total_seconds(), 0.0) + 1))
