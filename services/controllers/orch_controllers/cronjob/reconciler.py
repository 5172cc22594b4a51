"""The cron job's reconciliation: take in what became of its jobs, clear old ones away, make the one that is due.

A job is named after its moment, so a moment has one job however often, and by whomever, it is tried to be made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import msgspec

from orch import cron
from orch.clock import parse_rfc3339, rfc3339
from orch.errors import AlreadyExistsError, NotFoundError, OrchError
from orch.objects.batch import CronJob, CronJobStatus, Job
from orch.objects.scheme import CRON_JOBS, JOBS
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.cronjob.due import MANY, last_due, next_due
from orch_controllers.cronjob.jobs import beyond_history, job_name, job_of, latest_success, reference_to, scheduled_for
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.expectations import Written
from orch_controllers.ownership import controlled, index_by_controller, owner_keys

log = logging.getLogger(__name__)

_AWAIT_INFORMER: Final = 0.5
_LONGEST: Final = 86400.0


class _Turn(msgspec.Struct):
    """One reconciliation: what is known, and the status that it has come to so far."""

    cron_job: CronJob
    jobs: Sequence[Job]
    now: datetime
    status: CronJobStatus


class CronJobReconciler:
    """Reconciles cron jobs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorders.of("cronjob-controller")
        self._cron_jobs = context.informers.of(CRON_JOBS)
        self._jobs = context.informers.of(JOBS)
        index_by_controller(context.informers, JOBS)
        self._written = Written(self._cron_jobs)

    def keys_of_job(self, change: Change[Job]) -> Iterable[Key]:
        """Return the cron job of a job that came, ended, or went."""
        old, new = change.old, change.new
        if old is not None and new is not None and old is not new:
            before, after = old.object, new.object
            same = before.metadata.owner_references == after.metadata.owner_references
            if same and before.status.finished == after.status.finished:
                return ()
        return owner_keys(change, CRON_JOBS)

    async def reconcile(self, key: Key) -> Result:
        """Take the next step of one cron job."""
        item = self._cron_jobs.get(key.namespace, key.name)
        if item is None:
            self._written.forget(key)
            return DONE
        if not self._written.shown(key):
            return Result(_AWAIT_INFORMER)
        cron_job = item.object
        turn = _Turn(cron_job, controlled(self._jobs, item.uid), self._clock.now(), cron_job.status)
        failure: OrchError | None = None
        again: timedelta | None = None
        await self._clear(turn)
        try:
            await self._take_in(turn)
            if not cron_job.metadata.deletion_timestamp and not cron_job.spec.suspend:
                again = await self._make_due(turn)
        except OrchError as error:
            failure = error  # what was done before it is told all the same
        await self._write_status(key, turn)
        if failure is not None:
            raise failure
        return DONE if again is None else Result(min(max(again.total_seconds(), 0.001), _LONGEST))

    # -- the jobs that there are -----------------------------------------------------------------------------------

    async def _clear(self, turn: _Turn) -> None:
        """Delete finished jobs that are more than are kept."""
        for job in beyond_history(turn.cron_job, turn.jobs):
            if not job.metadata.deletion_timestamp:
                await self._delete(turn, job)

    async def _take_in(self, turn: _Turn) -> None:
        """Bring the list of active jobs, and the time of the last success, to what the jobs say."""
        active = {each.uid: each for each in turn.status.active}
        for job in turn.jobs:
            uid, end = job.metadata.uid, job.status.finished
            if uid in active and end is not None:
                del active[uid]
                message = f"Saw completed job: {job.metadata.name}, condition: {end.type}"
                self._tell(turn, "Normal", "SawCompletedJob", message)
            elif uid not in active and end is None and (moment := scheduled_for(job)) is not None:
                active[uid] = reference_to(job)  # made by a turn that could not say so: Forbid and Replace count it
                last = rfc3339(max(moment, _last(turn) or moment))
                turn.status = msgspec.structs.replace(turn.status, last_schedule_time=last)
            elif uid not in active and end is None:
                message = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
                self._tell(turn, "Warning", "UnexpectedJob", message)
        known = {job.metadata.uid for job in turn.jobs}
        for uid, each in list(active.items()):
            if uid not in known and not await self._exists(turn, each.name, uid):
                del active[uid]
                self._tell(turn, "Normal", "MissingJob", f"Active job went missing: {each.name}")
        success = latest_success(turn.jobs, turn.status.last_successful_time)
        turn.status = msgspec.structs.replace(turn.status, active=tuple(active.values()), last_successful_time=success)

    async def _exists(self, turn: _Turn, name: str, uid: str) -> bool:
        """Return whether a job is there: the informer may not know it yet."""
        try:
            job = await self._client.get(JOBS, turn.cron_job.metadata.namespace, name)
        except NotFoundError:
            return False
        return job.metadata.uid == uid

    async def _delete(self, turn: _Turn, job: Job) -> None:
        """Delete a job with its pods. Raises what the client raises."""
        meta = job.metadata
        try:
            await self._client.delete(JOBS, meta.namespace, meta.name, uid=meta.uid, propagation="Background")
        except NotFoundError:
            log.debug("job %s/%s was gone already", meta.namespace, meta.name)
        except OrchError as error:
            self._tell(turn, "Warning", "FailedDelete", f"Deleted job: {error}")
            raise
        else:
            self._tell(turn, "Normal", "SuccessfulDelete", f"Deleted job {meta.name}")
        active = tuple(each for each in turn.status.active if each.uid != meta.uid)
        turn.status = msgspec.structs.replace(turn.status, active=active)

    # -- the job that is due ---------------------------------------------------------------------------------------

    async def _make_due(self, turn: _Turn) -> timedelta | None:
        """Make the job that is due, if one is; return in how long to look again, None for a schedule that is wrong."""
        schedule = self._schedule(turn)
        if schedule is None:
            return None
        try:
            moment = self._last_due(turn, schedule)
        except ValueError as error:
            message = f"invalid schedule: {turn.cron_job.spec.schedule} : {error}"
            self._tell(turn, "Warning", "InvalidSchedule", message)
            return None
        if moment is not None and self._may_start(turn, moment):
            await self._start(turn, moment)
        return next_due(schedule, _since(turn), turn.now)

    def _schedule(self, turn: _Turn) -> cron.Schedule | None:
        """Return the cron job's schedule; None, and people are told, when it cannot be understood."""
        spec = turn.cron_job.spec
        zone = spec.time_zone or ""
        if not cron.is_zone(zone):
            message = f'invalid timeZone: "{zone}": unknown time zone {zone}'
            self._tell(turn, "Warning", "UnknownTimeZone", message)
            return None
        if "TZ" in spec.schedule:
            message = (
                f'CRON_TZ or TZ used in schedule "{spec.schedule}" is not officially supported, see '
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            )
            self._tell(turn, "Warning", "UnsupportedSchedule", message)
        try:
            return cron.parse(spec.schedule, zone)
        except ValueError as error:
            message = f'unparseable schedule: "{spec.schedule}" : {error}'
            self._tell(turn, "Warning", "UnparseableSchedule", message)
            return None

    def _last_due(self, turn: _Turn, schedule: cron.Schedule) -> datetime | None:
        """Return the moment for which a job is due. Raises ValueError for a schedule whose time never comes."""
        since = _since(turn)
        deadline = turn.cron_job.spec.starting_deadline_seconds
        if deadline is not None:
            since = max(since, turn.now - timedelta(seconds=deadline))
        due = last_due(schedule, since, turn.now)
        if due.moment is not None and due.missed > MANY:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._tell(turn, "Warning", "TooManyMissedTimes", message)
        return due.moment

    def _may_start(self, turn: _Turn, moment: datetime) -> bool:
        """Return whether the job for a moment is to be made, unless it is there already."""
        spec, status = turn.cron_job.spec, turn.status
        deadline = spec.starting_deadline_seconds
        if deadline is not None and moment + timedelta(seconds=deadline) < turn.now:
            missed = format_datetime(moment.astimezone(UTC))
            self._tell(turn, "Warning", "MissSchedule", f"Missed scheduled time to start a job: {missed}")
            return False
        name = job_name(turn.cron_job, moment)
        if any(each.name == name for each in status.active) or status.last_schedule_time == rfc3339(moment):
            return False
        if spec.concurrency_policy == "Forbid" and status.active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._tell(turn, "Normal", "JobAlreadyActive", message)
            return False
        return True

    async def _start(self, turn: _Turn, moment: datetime) -> None:
        """Make the job for a moment, in place of others if it is to replace them."""
        cron_job = turn.cron_job
        if cron_job.spec.concurrency_policy == "Replace":
            await self._replace_active(turn)
        job = await self._create(turn, job_of(cron_job, moment))
        if job is None:
            return
        turn.status = msgspec.structs.replace(
            turn.status, active=(*turn.status.active, reference_to(job)), last_schedule_time=rfc3339(moment)
        )

    async def _replace_active(self, turn: _Turn) -> None:
        for each in turn.status.active:
            try:
                job = await self._client.get(JOBS, turn.cron_job.metadata.namespace, each.name)
            except OrchError as error:
                self._tell(turn, "Warning", "FailedGet", f"Get job: {error}")
                raise
            await self._delete(turn, job)

    async def _create(self, turn: _Turn, body: dict[str, Any]) -> Job | None:
        """Create a job; None when another made it, or it has ended, or none can be made any more."""
        meta = turn.cron_job.metadata
        name: str = body["metadata"]["name"]
        try:
            job = await self._client.create(JOBS, meta.namespace, body)
        except AlreadyExistsError:
            # Perhaps made by a turn that could not say so in the status.
            job = await self._client.get(JOBS, meta.namespace, name)
            owner = job.metadata.controller
            if owner is None or owner.uid != meta.uid or job.status.finished is not None:
                return None
            return job
        except OrchError as error:
            if is_namespace_terminating(error):
                return None
            self._tell(turn, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        self._tell(turn, "Normal", "SuccessfulCreate", f"Created job {name}")
        return job

    # -- the status ------------------------------------------------------------------------------------------------

    async def _write_status(self, key: Key, turn: _Turn) -> None:
        cron_job, status = turn.cron_job, turn.status
        if status == cron_job.status:
            return
        meta = cron_job.metadata
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {
                "active": [msgspec.to_builtins(each) for each in status.active] or None,
                "lastScheduleTime": status.last_schedule_time or None,
                "lastSuccessfulTime": status.last_successful_time or None,
            },
        }
        try:
            written = await self._client.patch(CRON_JOBS, key.namespace, key.name, patch, subresource="status")
        except NotFoundError:
            log.debug("cron job %s was deleted meanwhile", key)
            return
        self._written.note(key, written)

    def _tell(self, turn: _Turn, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(CRON_JOBS, turn.cron_job), kind, reason, message)


def _last(turn: _Turn) -> datetime | None:
    """Return the last moment that had a job, None when none had one yet."""
    told = turn.status.last_schedule_time
    return parse_rfc3339(told) if told else None


def _since(turn: _Turn) -> datetime:
    """Return after which moment jobs are due: the last that had one, else the cron job's creation."""
    return _last(turn) or parse_rfc3339(turn.cron_job.metadata.creation_timestamp)
