"""The jobs that a cron job makes, and those of its own that it is done with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from orch.clock import parse_rfc3339, rfc3339
from orch.objects.batch import CronJob, Job, JobReference
from orch.objects.scheme import CRON_JOBS, JOBS
from orch_controllers.documents import controller_reference

SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""The annotation of a job that says for which moment it was made."""


def job_name(cron_job: CronJob, moment: datetime) -> str:
    """Return the name of the job for a moment: the same however often it is asked for."""
    return f"{cron_job.metadata.name}-{int(moment.timestamp()) // 60}"


def job_of(cron_job: CronJob, moment: datetime) -> dict[str, Any]:
    """Return the body of the job for a moment."""
    template = cron_job.spec.job_template
    metadata: dict[str, Any] = {
        "name": job_name(cron_job, moment),
        "annotations": {**template.metadata.annotations, SCHEDULED: _in_zone(moment, cron_job.spec.time_zone)},
        "ownerReferences": [controller_reference(CRON_JOBS, cron_job.metadata)],
    }
    if template.metadata.labels:
        metadata["labels"] = template.metadata.labels
    return {"apiVersion": JOBS.api_version, "kind": JOBS.name, "metadata": metadata, "spec": template.spec}


def scheduled_for(job: Job) -> datetime | None:
    """Return for which moment of its schedule a job was made here; None for one made by hand from the template."""
    try:
        return parse_rfc3339(job.metadata.annotations.get(SCHEDULED, ""))
    except ValueError:
        return None


def reference_to(job: Job) -> JobReference:
    """Return how a cron job remembers a job that runs."""
    meta = job.metadata
    return JobReference(
        api_version=JOBS.api_version,
        kind=JOBS.name,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


def beyond_history(cron_job: CronJob, jobs: Sequence[Job]) -> list[Job]:
    """Return the finished jobs that are more than are kept, the oldest of each kind."""
    spec = cron_job.spec
    ends = {kind: [job for job in jobs if job.status.condition(kind) is not None] for kind in ("Complete", "Failed")}
    return [
        *_oldest(ends["Failed"], spec.failed_jobs_history_limit),
        *_oldest(ends["Complete"], spec.successful_jobs_history_limit),
    ]


def latest_success(jobs: Iterable[Job], known: str) -> str:
    """Return when a job was completed last."""
    times = [job.status.completion_time for job in jobs if job.status.condition("Complete") is not None]
    return max([known, *times])  # texts of one form: their order is that of the times


def _oldest(jobs: list[Job], keep: int | None) -> list[Job]:
    if keep is None or len(jobs) <= keep:
        return []
    by_start = sorted(jobs, key=lambda job: (job.status.start_time or "9", job.metadata.name))
    return by_start[: len(jobs) - keep]


def _in_zone(moment: datetime, zone: str | None) -> str:
    """Return the moment in RFC 3339, as the clock of the zone shows it."""
    if not zone:
        return rfc3339(moment)
    local = moment.astimezone(ZoneInfo(zone))
    return rfc3339(moment) if local.utcoffset() == UTC.utcoffset(None) else local.isoformat(timespec="seconds")
