"""Whether a job is to end, and how (k8s.io/kubernetes pkg/controller/job syncJob). Pure.

The end has two conditions: FailureTarget or SuccessCriteriaMet as soon as it is decided, Failed or Complete once every
pod has ended and is counted. The second has the first one's reason and message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from orch.clock import parse_rfc3339, rfc3339
from orch.objects.batch import Job, JobStatus, SuccessPolicyRule
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch_controllers.job.census import Census
from orch_controllers.job.failure_policy import FAIL_JOB, judge
from orch_controllers.job.indexes import Indexes
from orch_controllers.job.pods import restart_policy

FAILURE_TARGET: Final = "FailureTarget"
SUCCESS_CRITERIA_MET: Final = "SuccessCriteriaMet"
FAILED: Final = "Failed"
COMPLETE: Final = "Complete"
SUSPENDED: Final = "Suspended"

_BACKOFF: Final = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE: Final = ("DeadlineExceeded", "Job was active longer than specified deadline")
_FAILED_INDEXES: Final = ("FailedIndexes", "Job has failed indexes")
_MAX_FAILED: Final = (
    "MaxFailedIndexesExceeded",
    "Job has exceeded the specified maximal number of failed indexes",
)
_REACHED: Final = ("CompletionsReached", "Reached expected number of succeeded pods")


def condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Condition:
    """Return a condition of a job that begins to hold."""
    moment = rfc3339(now)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_probe_time=moment,
        last_transition_time=moment,
    )


def decided(census: Census, now: datetime) -> Condition | None:
    """Return the first of the two conditions of the job's end, None while it goes on."""
    status = census.job.status
    known = status.condition(SUCCESS_CRITERIA_MET) or status.condition(FAILURE_TARGET)
    if known is not None:
        return known
    failure = _failure(census, now)
    if failure is not None:
        return condition(FAILURE_TARGET, "True", *failure, now)
    message = _success_by_policy(census)
    return condition(SUCCESS_CRITERIA_MET, "True", "SuccessPolicy", message, now) if message else None


def completed(census: Census, active: int, now: datetime) -> Condition | None:
    """Return the first of the two conditions of success, None while too few pods have succeeded.

    `active`: how many pods are active after what was created and deleted.
    """
    wanted = 1 if census.completions is None else census.completions
    if active or census.succeeded < wanted:
        return None
    return condition(SUCCESS_CRITERIA_MET, "True", *_REACHED, now)


def final(first: Condition, now: datetime) -> Condition:
    """Return the second condition of an end."""
    kind = COMPLETE if first.type == SUCCESS_CRITERIA_MET else FAILED
    return condition(kind, "True", first.reason, first.message, now)


def deadline_in(job: Job, status: JobStatus, now: datetime) -> float | None:
    """Return in how many seconds the job's deadline is over, None when it has none that runs.

    It does not run while the job rests: a job that is told to go on is given all of it again.
    """
    seconds = job.spec.active_deadline_seconds
    rests = job.spec.suspend or status.condition(SUSPENDED) is not None
    if seconds is None or not status.start_time or rests:
        return None
    return seconds - (now - parse_rfc3339(status.start_time)).total_seconds()


def with_condition(status: JobStatus, new: Condition) -> JobStatus:
    """Return the status with a condition, changed in its place; one that is false is not added."""
    old = next((each for each in status.conditions if each.type == new.type), None)
    if old is None:
        return status if new.status == "False" else _with(status, (*status.conditions, new))
    if (old.status, old.reason, old.message) == (new.status, new.reason, new.message):
        return status
    return _with(status, tuple(new if each is old else each for each in status.conditions))


def _with(status: JobStatus, conditions: tuple[Condition, ...]) -> JobStatus:
    return msgspec.structs.replace(status, conditions=conditions)


def _failure(census: Census, now: datetime) -> tuple[str, str] | None:
    """Return the reason and the message of a failure."""
    job = census.job
    message = _failing_pod(census)
    if message:
        return "PodFailurePolicy", message
    limit = 6 if job.spec.backoff_limit is None else job.spec.backoff_limit
    if census.failed > limit or _restarted_too_often(job, census.pods, limit):
        return _BACKOFF
    left = deadline_in(job, job.status, now)
    if left is not None and left <= 0:
        return _DEADLINE
    return _failing_indexes(census)


def _failing_pod(census: Census) -> str:
    policy = census.job.spec.pod_failure_policy
    if policy is None:
        return ""
    judgements = (judge(policy, pod) for pod in census.pods if census.has_failed(pod))
    return next((each.message for each in judgements if each.action == FAIL_JOB), "")


def _restarted_too_often(job: Job, pods: Sequence[Pod], limit: int) -> bool:
    """Return whether the containers of pods that restart them have been restarted too often."""
    if restart_policy(job) != "OnFailure":
        return False
    running = (pod.status for pod in pods if pod.status.phase in {"Running", "Pending"})
    restarts = sum(
        each.restart_count
        for status in running
        for each in (*status.init_container_statuses, *status.container_statuses)
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _failing_indexes(census: Census) -> tuple[str, str] | None:
    failed = census.failed_indexes
    if failed is None or not failed.total:
        return None
    most = census.job.spec.max_failed_indexes
    if most is not None and failed.total > most:
        return _MAX_FAILED
    done = failed.total + census.succeeded_indexes.total
    return _FAILED_INDEXES if done >= (census.completions or 0) else None


def _success_by_policy(census: Census) -> str:
    policy = census.job.spec.success_policy
    if policy is None or not census.indexed or not census.succeeded_indexes.total:
        return ""
    for place, rule in enumerate(policy.rules):
        if _suffices(rule, census.succeeded_indexes, census.completions or 0):
            return f"Matched rules at index {place}"
    return ""


def _suffices(rule: SuccessPolicyRule, succeeded: Indexes, completions: int) -> bool:
    if rule.succeeded_indexes is None:
        return rule.succeeded_count is not None and succeeded.total >= rule.succeeded_count
    named = Indexes.parse(rule.succeeded_indexes, completions)
    reached = sum(index in succeeded for index in named)
    return reached >= (named.total if rule.succeeded_count is None else rule.succeeded_count)
