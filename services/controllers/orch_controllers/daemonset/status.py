"""A daemon set's status: numbers of nodes (k8s.io/kubernetes pkg/controller/daemon updateDaemonSetStatus). Pure."""

from __future__ import annotations

from typing import Any

from orch.objects.apps import DaemonSetStatus
from orch_controllers.daemonset.plan import Situation, oldest_first
from orch_controllers.documents import condition_document, without_zeroes
from orch_controllers.pod_state import is_ready


def status_of(at: Situation, collisions: int) -> DaemonSetStatus:
    """Return the status. Of a node with several pods the oldest counts."""
    desired = current = misscheduled = ready = updated = available = 0
    for node, found in at.fits.items():
        pods = at.pods.get(node)
        if not found.should_run:
            misscheduled += bool(pods)
            continue
        desired += 1
        if not pods:
            continue
        current += 1
        pod = pods[0] if len(pods) == 1 else oldest_first(pods)[0]
        if is_ready(pod):
            ready += 1
            available += at.available(pod)
        updated += at.updated(pod)
    owner = at.owner
    return DaemonSetStatus(
        observed_generation=owner.metadata.generation,
        current_number_scheduled=current,
        number_misscheduled=misscheduled,
        desired_number_scheduled=desired,
        number_ready=ready,
        updated_number_scheduled=updated,
        number_available=available,
        number_unavailable=desired - available,
        collision_count=collisions or owner.status.collision_count,
        conditions=owner.status.conditions,
    )


def as_patch(status: DaemonSetStatus) -> dict[str, Any]:
    """Return the status as a merge patch."""
    counts = {
        "observedGeneration": status.observed_generation,
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "updatedNumberScheduled": status.updated_number_scheduled,
        "numberAvailable": status.number_available,
        "numberUnavailable": status.number_unavailable,
    }
    kept = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    return {
        **without_zeroes(counts, *kept),
        "collisionCount": status.collision_count,
        "conditions": [condition_document(each) for each in status.conditions],
    }
