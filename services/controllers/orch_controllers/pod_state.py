"""What controllers ask about a pod (k8s.io/kubernetes pkg/api/v1/pod and pkg/controller)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.clock import parse_rfc3339
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.runtime.informer import Item

FINISHED: Final = frozenset({"Succeeded", "Failed"})


def is_finished(pod: Pod) -> bool:
    """Return whether the pod has run to its end."""
    return pod.status.phase in FINISHED


def is_active(pod: Pod) -> bool:
    """Return whether the pod counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not pod.metadata.deletion_timestamp


def is_terminating(pod: Pod) -> bool:
    """Return whether the pod is being deleted and still runs."""
    return not is_finished(pod) and bool(pod.metadata.deletion_timestamp)


def ready_condition(pod: Pod) -> Condition | None:
    """Return the Ready condition while it is true."""
    condition = pod.status.condition("Ready")
    return condition if condition is not None and condition.status == "True" else None


def is_ready(pod: Pod) -> bool:
    """Return whether the pod serves."""
    return ready_condition(pod) is not None


def ready_since(pod: Pod) -> datetime | None:
    """Return since when the pod is ready, None when it is not."""
    condition = ready_condition(pod)
    if condition is None or not condition.last_transition_time:
        return None
    return parse_rfc3339(condition.last_transition_time)


def bound_since(pod: Pod) -> datetime | None:
    """Return since when the pod is bound to its node, as well as it is known."""
    scheduled = pod.status.condition("PodScheduled")
    moments = (
        scheduled.last_transition_time if scheduled is not None and scheduled.status == "True" else "",
        pod.status.start_time,
        pod.metadata.creation_timestamp,
    )
    return next((parse_rfc3339(moment) for moment in moments if moment), None)


def available_in(pod: Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """Return in how many seconds the pod counts as available (0: it does), None when it is not ready."""
    if ready_condition(pod) is None:
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, min_ready_seconds - (now - since).total_seconds())


def node_of(item: Item[Pod]) -> tuple[str, ...]:
    """Index pods by their node."""
    node = item.object.spec.node_name
    return (node,) if node else ()
