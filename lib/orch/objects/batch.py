"""Views of Job and CronJob (k8s.io/api/batch/v1)."""

from __future__ import annotations

import msgspec

from orch.objects.meta import Condition, LabelSelector, Object, ObjectMeta, View
from orch.objects.pods import PodTemplate


class ExitCodesRequirement(View, frozen=True):
    """Which exit codes a rule is about: those that are (In), or are not (NotIn), among the values."""

    container_name: str | None = None
    operator: str = ""
    values: tuple[int, ...] = ()


class PodConditionPattern(View, frozen=True):
    """A condition of a failed pod that a rule is about."""

    type: str = ""
    status: str = "True"


class PodFailurePolicyRule(View, frozen=True):
    """What to do about pods that failed in a certain way: FailJob, FailIndex, Ignore or Count."""

    action: str = ""
    on_exit_codes: ExitCodesRequirement | None = None
    on_pod_conditions: tuple[PodConditionPattern, ...] = ()


class PodFailurePolicy(View, frozen=True):
    """Rules about failed pods; the first that matches counts."""

    rules: tuple[PodFailurePolicyRule, ...] = ()


class SuccessPolicyRule(View, frozen=True):
    """Indexes, or a number of them, that suffice for success."""

    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(View, frozen=True):
    """When an indexed job counts as successful before all of its indexes are."""

    rules: tuple[SuccessPolicyRule, ...] = ()


class JobSpec(View, frozen=True):
    """What a job shall do."""

    parallelism: int | None = None
    completions: int | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: int | None = None
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplate = PodTemplate()
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_replacement_policy: str = ""
    managed_by: str | None = None


class UncountedTerminatedPods(View, frozen=True):
    """Uids of pods that have ended and are not in the counters yet."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(View, frozen=True):
    """What a job has done."""

    conditions: tuple[Condition, ...] = ()
    start_time: str = ""
    completion_time: str = ""
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int | None = None

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type while it is true."""
        for condition in self.conditions:
            if condition.type == kind and condition.status == "True":
                return condition
        return None

    @property
    def finished(self) -> Condition | None:
        """The condition that says how the job ended: Complete or Failed."""
        return self.condition("Complete") or self.condition("Failed")


class Job(Object, frozen=True):
    """A job."""

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class JobTemplate(View, frozen=True):
    """The job that a cron job makes; its spec stays bytes, so that no field is lost."""

    metadata: ObjectMeta = ObjectMeta()
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class CronJobSpec(View, frozen=True):
    """When a cron job makes which jobs."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: JobTemplate = JobTemplate()
    successful_jobs_history_limit: int | None = None
    failed_jobs_history_limit: int | None = None


class JobReference(View, frozen=True):
    """A job that a cron job has made."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""


class CronJobStatus(View, frozen=True):
    """What a cron job has made."""

    active: tuple[JobReference, ...] = ()
    last_schedule_time: str = ""
    last_successful_time: str = ""


class CronJob(Object, frozen=True):
    """A cron job."""

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()
