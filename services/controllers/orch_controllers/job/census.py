"""A job's pods, sorted by what they mean to it. Pure: what a reconciliation knows is in here, and nothing else.

A pod keeps the job's finalizer until its end is in the job's status. One that has ended and has the finalizer is
either new, or in `uncountedTerminatedPods`: its uid was noted there before the finalizer may be taken away, so that
whoever comes next neither counts it twice nor forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from orch.objects.batch import Job, UncountedTerminatedPods
from orch.objects.pods import Pod
from orch_controllers.job.backoff import finished_at
from orch_controllers.job.failure_policy import FAIL_INDEX, judge
from orch_controllers.job.indexes import Indexes, index_of
from orch_controllers.job.pods import attempts_of, failures_of, is_tracked
from orch_controllers.pod_state import is_active, is_ready, is_terminating

INDEXED = "Indexed"

_NONE = UncountedTerminatedPods()


class Census:
    """What a job's pods are to it."""

    def __init__(self, job: Job, pods: Sequence[Pod]) -> None:
        self.job = job
        self.pods = pods
        self.completions = job.spec.completions
        self.parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
        self.indexed = job.spec.completion_mode == INDEXED
        self.uncounted = job.status.uncounted_terminated_pods or _NONE
        self.active = [pod for pod in pods if is_active(pod)]
        self.terminating = [pod for pod in pods if is_terminating(pod)]
        self.tracked = [pod for pod in pods if is_tracked(pod)]

    @cached_property
    def replaces_failed_only(self) -> bool:
        """Whether a pod that is being deleted is replaced only once it has failed."""
        spec = self.job.spec
        return spec.pod_replacement_policy == "Failed" or spec.pod_failure_policy is not None

    @property
    def ready(self) -> int:
        """How many active pods serve."""
        return sum(map(is_ready, self.active))

    def has_failed(self, pod: Pod) -> bool:
        """Return whether a pod counts as failed: also one that is being deleted, where such pods are replaced."""
        phase = pod.status.phase
        if phase == "Failed" or self.replaces_failed_only:
            return phase == "Failed"
        return bool(pod.metadata.deletion_timestamp) and phase != "Succeeded"

    @cached_property
    def new_succeeded(self) -> list[Pod]:
        """Pods that succeeded and are in no counter yet, nor noted."""
        noted = {*self.uncounted.succeeded, *self.uncounted.failed}
        return [pod for pod in self._valid(self.tracked, noted) if pod.status.phase == "Succeeded"]

    @cached_property
    def new_failed(self) -> list[Pod]:
        """Pods that failed and are in no counter yet, nor noted."""
        noted = set(self.uncounted.failed)
        return [pod for pod in self._valid(self.tracked, noted) if self.has_failed(pod)]

    @cached_property
    def failed(self) -> int:
        """How many pods failed so far, those left out that the policy ignores."""
        policy = self.job.spec.pod_failure_policy
        new = sum(judge(policy, pod).counts for pod in self.new_failed)
        return self.job.status.failed + len(self.uncounted.failed) + new

    @cached_property
    def succeeded(self) -> int:
        """How many pods, or indexes, succeeded so far."""
        if self.indexed:
            return self.succeeded_indexes.total
        return self.job.status.succeeded + len(self.uncounted.succeeded) + len(self.new_succeeded)

    # -- indexes -------------------------------------------------------------------------------------------------

    @cached_property
    def counted_indexes(self) -> Indexes:
        """The indexes that the status says have succeeded."""
        return Indexes.parse(self.job.status.completed_indexes, self.completions or 0)

    @cached_property
    def succeeded_indexes(self) -> Indexes:
        """The indexes that have succeeded, those included that the status does not say yet."""
        return self.counted_indexes | self.indexes_of(pod for pod in self.tracked if pod.status.phase == "Succeeded")

    @cached_property
    def failed_indexes(self) -> Indexes | None:
        """The indexes that are not tried again; None for a job that has no limit for each."""
        if not self.indexed or self.job.spec.backoff_limit_per_index is None:
            return None
        known = Indexes.parse(self.job.status.failed_indexes or "", self.completions or 0)
        return known | self.indexes_of(pod for pod in self.tracked if self._fails_index(pod))

    @cached_property
    def awaiting_replacement(self) -> dict[int, Pod]:
        """Return for each index without an active pod the last that failed on it.

        It is kept until its replacement carries on the count of failures.
        """
        failed_indexes = self.failed_indexes
        if failed_indexes is None:
            return {}
        settled = self.succeeded_indexes | failed_indexes | self.indexes_of(self.active)
        last: dict[int, Pod] = {}
        for pod in self._valid(self.tracked, set()):
            index = index_of(pod)
            if index is None or index in settled or not self.has_failed(pod):
                continue
            known = last.get(index)
            if known is None or (attempts_of(known), finished_at(known)) <= (attempts_of(pod), finished_at(pod)):
                last[index] = pod
        return last

    def indexes_of(self, pods: Iterable[Pod]) -> Indexes:
        """Return the indexes, among those that the job has, that pods work on."""
        found = (index_of(pod) for pod in pods)
        limit = self.completions or 0
        return Indexes.of(index for index in found if index is not None and index < limit)

    def has_place(self, pod: Pod) -> bool:
        """Return whether the pod's result is one that the job asked for: every one, or that of one of its indexes."""
        if not self.indexed:
            return True
        index = index_of(pod)
        return index is not None and index < (self.completions or 0)

    def _valid(self, pods: Iterable[Pod], noted: set[str]) -> Iterable[Pod]:
        return (pod for pod in pods if pod.metadata.uid not in noted and self.has_place(pod))

    def _fails_index(self, pod: Pod) -> bool:
        if not self.has_failed(pod):
            return False
        judgement = judge(self.job.spec.pod_failure_policy, pod)
        if judgement.action == FAIL_INDEX:
            return True
        limit = self.job.spec.backoff_limit_per_index or 0
        return judgement.counts and failures_of(pod) >= limit
