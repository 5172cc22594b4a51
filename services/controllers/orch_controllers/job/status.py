"""A job's status as it is written: Kubernetes' form, in which counters that are zero are left out."""

from __future__ import annotations

from typing import Any

from orch.objects.batch import Job, JobStatus, UncountedTerminatedPods
from orch_controllers.documents import condition_document


def as_patch(job: Job, status: JobStatus) -> dict[str, Any]:
    """Return the merge patch that brings the job's status to `status`, if nobody has changed the job meanwhile."""
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    meta = job.metadata
    return {
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {
            "conditions": [condition_document(each) for each in status.conditions],
            "startTime": status.start_time or None,
            "completionTime": status.completion_time or None,
            "active": status.active or None,
            "succeeded": status.succeeded or None,
            "failed": status.failed or None,
            "ready": status.ready,
            "terminating": status.terminating,
            "completedIndexes": status.completed_indexes or None,
            "failedIndexes": status.failed_indexes,
            "uncountedTerminatedPods": {
                "succeeded": list(uncounted.succeeded) or None,
                "failed": list(uncounted.failed) or None,
            },
        },
    }
