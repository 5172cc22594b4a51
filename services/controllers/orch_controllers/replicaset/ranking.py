"""Which replicas go first when there are too many (k8s.io/kubernetes pkg/controller ActivePodsWithRanks). Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orch.clock import parse_rfc3339
from orch.objects.pods import Pod
from orch_controllers.pod_state import is_ready, ready_since

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_PHASES: Final = {"Pending": 0, "Unknown": 1, "Running": 2}
_COST: Final = re.compile(r"0|-[0-9]+|[1-9][0-9]*")
_INT32: Final = range(-(2**31), 2**31)


def first_to_go(pods: Sequence[Pod], related: Sequence[Pod], count: int, now: datetime) -> list[Pod]:
    """Return the `count` pods to delete.

    In order: not on a node, pending, not ready, cheap to delete, on a node with more related pods, ready for a shorter
    time, restarted more often, younger. Times count by powers of two, so that near ones are equal.
    """
    crowd = Counter(pod.spec.node_name for pod in related)

    def rank(pod: Pod) -> tuple[object, ...]:
        since = ready_since(pod)
        created = pod.metadata.creation_timestamp
        return (
            bool(pod.spec.node_name),
            _PHASES.get(pod.status.phase, 0),
            is_ready(pod),
            deletion_cost(pod),
            -crowd[pod.spec.node_name],
            _age(since, now) if is_ready(pod) else 0,
            *_fewest_restarts(pod),
            _age(parse_rfc3339(created) if created else None, now),
            pod.metadata.uid,
        )

    return sorted(pods, key=rank)[:count]


def deletion_cost(pod: Pod) -> int:
    """Return what the pod's annotation says, 0 when it says nothing that Kubernetes would take."""
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    cost = int(text) if _COST.fullmatch(text) else 0
    return cost if cost in _INT32 else 0


def _fewest_restarts(pod: Pod) -> tuple[int, int]:
    """Return the most restarts of a container, and of a sidecar, both negative."""
    sidecars = {each.name for each in pod.spec.init_containers if each.restart_policy == "Always"}
    status = pod.status
    return (
        -max((each.restart_count for each in status.container_statuses), default=0),
        -max((each.restart_count for each in status.init_container_statuses if each.name in sidecars), default=0),
    )


def _age(moment: datetime | None, now: datetime) -> int:
    """Return the power of two of the nanoseconds since then; less than any for a moment that is not known."""
    if moment is None:
        return -2
    passed = (now - moment).total_seconds() * 1e9
    return int(math.log2(passed)) if passed > 0 else -1
