"""CronJobs (k8s.io/kubernetes/pkg/registry/batch/cronjob)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api.kinds.columns import AGE, NAME, NONE, at, container_columns, selector_column, since, text
from orch_api.kinds.cron_schedules import is_zone, schedule_problem
from orch_api.kinds.job_rules import job_spec
from orch_api.kinds.jobs import default_failure_policy
from orch_api.kinds.pod_templates import default_template, name_warnings, template_warnings
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import invalid, non_negative, one_of, required, unsupported

_POLICIES: Final = ("Allow", "Forbid", "Replace")
_MAX_NAME: Final = 63 - 11
"""Jobs are called after the cron job, a hyphen and the minute in ten digits."""

_ZONE_PART: Final = re.compile(r"[A-Za-z0-9._+-]+")


class CronJobStrategy(Strategy):
    """The rules of cron jobs."""

    has_status = True
    has_generation = True

    def default(self, obj: Document) -> None:
        """Start jobs beside those that still run; remember three that succeeded and one that failed."""
        spec = put_section(obj, "spec")
        for name, value in (
            ("concurrencyPolicy", "Allow"),
            ("suspend", False),
            ("successfulJobsHistoryLimit", 3),
            ("failedJobsHistoryLimit", 1),
        ):
            if spec.get(name) in {None, ""}:
                spec[name] = value
        job = put_section(put_section(spec, "jobTemplate"), "spec")
        default_template(job)
        default_failure_policy(job)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the cron job."""
        spec = section(obj, "spec")
        causes = _schedule("spec.schedule", spec.get("schedule") or "")
        for name in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
            causes += non_negative(f"spec.{name}", spec.get(name) or 0)
        if (zone := spec.get("timeZone")) is not None:
            causes += _time_zone("spec.timeZone", zone)
        causes += one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy") or "", _POLICIES)
        causes += _job_template("spec.jobTemplate.spec", section(section(spec, "jobTemplate"), "spec"))
        name: str = section(obj, "metadata").get("name") or ""
        if len(name) > _MAX_NAME:
            causes.append(invalid("metadata.name", name, f"must be no more than {_MAX_NAME} characters"))
        return causes

    def warnings(self, obj: Document) -> list[str]:
        """Point out what is odd in the name and in the template."""
        job = section(section(section(obj, "spec"), "jobTemplate"), "spec")
        return name_warnings(obj) + template_warnings("spec.jobTemplate.spec.template", section(job, "template"))


def _schedule(field: str, schedule: str) -> list[Cause]:
    if not schedule:
        return [required(field)]
    problem = schedule_problem(schedule)
    causes = [invalid(field, schedule, problem)] if problem else []
    if "TZ" in schedule:
        problem = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        causes.append(invalid(field, schedule, problem))
    return causes


def _time_zone(field: str, zone: str) -> list[Cause]:
    if not zone:
        return [invalid(field, zone, "timeZone must be nil or non-empty string")]
    parts = zone.split("/")
    if any(part in {".", ".."} or part.startswith("-") or not _ZONE_PART.fullmatch(part) for part in parts):
        return [invalid(field, zone, f"unknown time zone {zone}")]
    if zone.lower() == "local":
        problem = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid(field, zone, problem)]
    return [] if is_zone(zone) else [invalid(field, zone, f"unknown time zone {zone}")]


def _job_template(field: str, job: Document) -> list[Cause]:
    causes = job_spec(field, job)
    if job.get("selector") is not None:
        causes.append(invalid(f"{field}.selector", job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        causes.append(unsupported(f"{field}.manualSelector", job["manualSelector"], ("nil", "false")))
    return causes


_TEMPLATE: Final = ("spec", "jobTemplate", "spec", "template")


def _suspended(obj: Document, now: datetime) -> str:
    _ = now
    suspend = section(obj, "spec").get("suspend")
    return "<unset>" if suspend is None else str(suspend)


def _active(obj: Document, now: datetime) -> int:
    _ = now
    return len(at(obj, ("status", "active")) or ())


def _last(obj: Document, now: datetime) -> str:
    last: str | None = at(obj, ("status", "lastScheduleTime"))
    return since(last, now) if last else NONE


RESOURCES: Final = (
    Resource(
        group="batch",
        plural="cronjobs",
        singular="cronjob",
        kind="CronJob",
        short_names=("cj",),
        categories=("all",),
        strategy=CronJobStrategy(),
        columns=(
            NAME,
            Column("Schedule", text("spec", "schedule"), description="When jobs are started, in cron's notation."),
            Column("Timezone", text("spec", "timeZone", missing=NONE), description="The schedule's time zone."),
            Column("Suspend", _suspended, type="boolean", description="Whether no jobs are started any more."),
            Column("Active", _active, type="integer", description="The number of jobs that run."),
            Column("Last Schedule", _last, description="Time since a job was last started."),
            AGE,
            *container_columns(*_TEMPLATE),
            selector_column("spec", "jobTemplate", "spec", "selector"),
        ),
        subresources={"status": Subresource("CronJob", "batch")},
    ),
)
