"""How ends of pods get into a job's status, each once (k8s.io/kubernetes trackJobStatusAndRemoveFinalizers). Pure.

    1. the status notes the uids of pods that have ended        (`noted`; an index that succeeded needs no uid)
    2. the finalizers of those pods are taken away
    3. the status counts those that have no finalizer any more  (`counted`)

Whatever stops in between is taken up where it stopped: a noted pod with a finalizer is at step 2, one without at 3.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from orch.objects.batch import JobStatus, UncountedTerminatedPods
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch_controllers.job.census import Census
from orch_controllers.job.failure_policy import judge
from orch_controllers.job.indexes import Indexes, index_of
from orch_controllers.job.verdict import SUCCESS_CRITERIA_MET

MOST: Final = 500
"""Pods whose ends one reconciliation notes at most, so that the status stays small."""


class Notes(msgspec.Struct, frozen=True):
    """The status with ended pods noted, and the pods that may go once it is written.

    `all`: whether no ended pod is left for the next time.
    """

    status: JobStatus
    release: tuple[Pod, ...]
    all: bool


def noted(census: Census, status: JobStatus, end: Condition | None) -> Notes:
    """Return the status with what ended since. `end` is the condition that was decided on, if any.

    When the job fails every pod that it still has counts as failed; when it succeeds they do not count.
    """
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded, failed = list(uncounted.succeeded), list(uncounted.failed)
    known = {*succeeded, *failed}
    indexes: list[int] = []
    release: list[Pod] = []
    complete = True
    failing = end is not None and end.type != SUCCESS_CRITERIA_MET
    for pod in _in_order(census):
        uid = pod.metadata.uid
        if not _may_go(census, pod, end):
            continue
        if uid in known or not census.has_place(pod):
            release.append(pod)
            continue
        if len(indexes) + len(succeeded) + len(failed) >= MOST:
            complete = False
            continue
        release.append(pod)
        if pod.status.phase == "Succeeded":
            index = index_of(pod) if census.indexed else None
            if index is None:
                succeeded.append(uid)
            else:
                indexes.append(index)
        elif (census.has_failed(pod) or failing) and judge(census.job.spec.pod_failure_policy, pod).counts:
            failed.append(uid)
    return _notes(census, status, Noted(succeeded, failed, indexes), release, complete=complete)


class Noted(msgspec.Struct, frozen=True):
    """What is noted: uids, and indexes that succeeded."""

    succeeded: list[str]
    failed: list[str]
    indexes: list[int]


def counted(status: JobStatus, tracked: Collection[str], *, indexed: bool) -> JobStatus:
    """Return the status with noted pods counted that have no finalizer any more; `tracked` are those that have it."""
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded = tuple(uid for uid in uncounted.succeeded if uid in tracked)
    failed = tuple(uid for uid in uncounted.failed if uid in tracked)
    more = 0 if indexed else len(uncounted.succeeded) - len(succeeded)
    return msgspec.structs.replace(
        status,
        succeeded=status.succeeded + more,
        failed=status.failed + len(uncounted.failed) - len(failed),
        uncounted_terminated_pods=UncountedTerminatedPods(succeeded=succeeded, failed=failed),
    )


def _notes(census: Census, status: JobStatus, new: Noted, release: list[Pod], *, complete: bool) -> Notes:
    uncounted = UncountedTerminatedPods(succeeded=tuple(new.succeeded), failed=tuple(new.failed))
    status = msgspec.structs.replace(status, uncounted_terminated_pods=uncounted)
    if census.indexed:
        done = census.counted_indexes | Indexes.of(new.indexes)
        failed = census.failed_indexes
        status = msgspec.structs.replace(
            status,
            succeeded=done.total,
            completed_indexes=str(done),
            failed_indexes=None if failed is None else str(failed),
        )
    return Notes(status, tuple(release), complete)


def _in_order(census: Census) -> list[Pod]:
    """Return the pods with a finalizer; by index, so that what is noted first is what comes first."""
    if not census.indexed:
        return census.tracked
    return sorted(census.tracked, key=lambda pod: -1 if (index := index_of(pod)) is None else index)


def _may_go(census: Census, pod: Pod, end: Condition | None) -> bool:
    """Return whether a pod's finalizer may be taken away."""
    if census.job.metadata.deletion_timestamp or end is not None or pod.status.phase == "Succeeded":
        return True
    if not census.has_failed(pod):
        return False
    index = index_of(pod)
    kept = None if index is None else census.awaiting_replacement.get(index)
    return kept is not pod
