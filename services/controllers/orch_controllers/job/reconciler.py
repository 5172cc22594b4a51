"""The job's reconciliation: claim pods, decide whether it ends, make or delete pods, count what ended.

Nothing is decided before the informers show all that was written for the job before, so what is counted is counted
once; `tracking` says how a crash between any two writes is survived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from orch.clock import rfc3339
from orch.objects.batch import Job, JobStatus
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS, PODS
from orch.runtime.events import EventType, reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch.selectors import from_label_selector
from orch_controllers.context import Context
from orch_controllers.expectations import Expectations
from orch_controllers.job.backoff import Backoff
from orch_controllers.job.census import INDEXED, Census
from orch_controllers.job.crew import Crew, Outcome
from orch_controllers.job.plan import Plan, planned
from orch_controllers.job.pods import FINALIZER, is_tracked
from orch_controllers.job.tracking import Notes, counted, noted
from orch_controllers.job.verdict import (
    COMPLETE,
    SUSPENDED,
    completed,
    condition,
    deadline_in,
    decided,
    final,
    with_condition,
)
from orch_controllers.job.writes import JobWrites
from orch_controllers.ownership import Claims, claimable, concerns_adopters, controlled, index_by_controller, owner_keys
from orch_controllers.pod_state import FINISHED, is_ready
from orch_controllers.pod_writes import PodWrites
from orch_controllers.slow_start import at_once

MANAGER: Final = "kubernetes.io/job-controller"
BATCH_PERIOD: Final = 1.0
"""Seconds between two writes of a status that merely keeps up with its pods."""

_AWAIT_INFORMER: Final = 0.5
_MODES: Final = frozenset({"NonIndexed", INDEXED})


class _Turn(msgspec.Struct):
    """One reconciliation: what is known, and what it has come to so far."""

    key: Key
    job: Job
    census: Census
    backoff: Backoff
    now: datetime
    status: JobStatus
    plan: Plan = Plan()
    outcome: Outcome = Outcome()
    end: Condition | None = None


class JobReconciler:
    """Reconciles jobs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorders.of("job-controller")
        self._jobs = context.informers.of(JOBS)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)
        self._expectations = Expectations(self._pods, context.client, context.clock)
        self._writes = JobWrites(context.client, context.informers)
        self._crew = Crew(PodWrites(context.client, self._expectations), self._writes, self._recorder)
        self._backoffs: dict[Key, tuple[str, Backoff]] = {}
        self._wrote: dict[Key, float] = {}

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return the jobs that a pod's change concerns: its controllers, or who could adopt it."""
        old, new = change.old, change.new
        if old is not None and new is not None and old is not new and _meaning(old.object) == _meaning(new.object):
            return ()
        keys = owner_keys(change, JOBS)
        if concerns_adopters(change):
            labels = change.item.labels
            for candidate in self._jobs.items(change.item.namespace):
                if from_label_selector(candidate.object.spec.selector).matches(labels):
                    keys.add(Key(candidate.namespace, candidate.name))
        return keys

    async def reconcile(self, key: Key) -> Result:
        """Take the next step of one job."""
        item = self._jobs.get(key.namespace, key.name)
        if item is None:
            self._forget(key)
            return DONE
        job = item.object
        if job.spec.managed_by not in {None, MANAGER}:
            return DONE
        if job.spec.completion_mode not in _MODES:
            self._tell(job, "Warning", "UnknownCompletionMode", "Skipped Job sync because completion mode is unknown")
            return DONE
        await self._expectations.settle(key)
        await self._writes.settle(key)
        if not self._expectations.satisfied(key) or not self._writes.shown(key):
            return Result(_AWAIT_INFORMER)
        if job.status.finished is not None:
            return await self._let_go(key, job)
        selector = from_label_selector(job.spec.selector)
        claims = Claims(self._client, PODS, JOBS, job, selector, finalizer=FINALIZER)
        candidates = claimable(self._pods, key.namespace, job.metadata.uid)
        pods = await claims.claim(candidates)
        known = set(map(id, candidates))
        for pod in pods:
            if id(pod) not in known:  # adopted just now: it must not be adopted, and counted, again
                self._expectations.created(key, pod)
        return await self._advance(self._begin(key, job, pods))

    def _begin(self, key: Key, job: Job, pods: Sequence[Pod]) -> _Turn:
        census, now = Census(job, pods), self._clock.now()
        uid, before = self._backoffs.get(key, ("", Backoff()))
        if uid != job.metadata.uid:
            before = _backoff_of(census)
        backoff = before.after(census.new_succeeded, census.new_failed)
        status = job.status
        if not status.start_time and not job.spec.suspend:
            status = msgspec.structs.replace(status, start_time=rfc3339(now))
        return _Turn(key, job, census, backoff, now, status)

    async def _advance(self, turn: _Turn) -> Result:
        """Decide, act on the pods, write what it came to."""
        turn.end = decided(turn.census, turn.now)
        if turn.end is None and not turn.job.metadata.deletion_timestamp:
            turn.plan = planned(turn.census, turn.backoff, turn.now)
        wait = self._may_wait(turn)
        if wait > 0:
            return Result(min(wait, self._due(turn) or wait))
        if turn.end is not None:
            await self._stop(turn)
        else:
            await self._go_on(turn)
        await self._track(turn)
        if turn.outcome.failure is not None:
            raise turn.outcome.failure
        return Result(self._due(turn))

    def _may_wait(self, turn: _Turn) -> float:
        """Return for how many seconds nothing need be done: pods have changed, and others may soon.

        The end of a job, new pods, and what its user asks for do not wait.
        """
        job, census, plan = turn.job, turn.census, turn.plan
        urgent = (
            turn.end is not None
            or plan.create
            or plan.delete
            or job.metadata.deletion_timestamp
            or not job.status.start_time
            or completed(census, len(census.active), turn.now) is not None
            or (job.status.condition(SUSPENDED) is not None) != job.spec.suspend
        )
        if urgent:
            return 0.0
        return self._wrote.get(turn.key, -BATCH_PERIOD) + BATCH_PERIOD - self._clock.monotonic()

    async def _stop(self, turn: _Turn) -> None:
        """Delete all pods of a job that ends; while one is left the end is not told."""
        active = turn.census.active
        turn.outcome = await self._crew.delete(turn.key, turn.job, active, counted=True)
        if turn.outcome.deleted < len(active):
            turn.end = None

    async def _go_on(self, turn: _Turn) -> None:
        """Bring the job to its number of pods; it may turn out that it needs no more."""
        job = turn.job
        if turn.plan.delete:
            turn.outcome = await self._crew.delete(turn.key, job, turn.plan.delete, counted=False)
        elif turn.plan.create:
            turn.outcome = await self._crew.create(turn.key, job, turn.plan.create)
        outcome = turn.outcome
        turn.end = completed(turn.census, len(turn.census.active) + outcome.created - outcome.deleted, turn.now)
        if turn.end is None and not job.metadata.deletion_timestamp:
            self._tell_suspension(turn)

    def _tell_suspension(self, turn: _Turn) -> None:
        suspend = turn.job.spec.suspend
        status, reason, text = (
            ("True", "JobSuspended", "Job suspended") if suspend else ("False", "JobResumed", "Job resumed")
        )
        changed = with_condition(turn.status, condition(SUSPENDED, status, reason, text, turn.now))
        if changed is turn.status:
            return
        if not suspend:  # its deadline does not run while it rests
            changed = msgspec.structs.replace(changed, start_time=rfc3339(turn.now))
        turn.status = changed
        self._tell(turn.job, "Normal", "Suspended" if suspend else "Resumed", text)

    async def _track(self, turn: _Turn) -> None:
        """Write the status, let pods go whose end is in it, write what that comes to."""
        census, outcome = turn.census, turn.outcome
        tracked = {pod.metadata.uid for pod in census.tracked}
        status = msgspec.structs.replace(
            counted(turn.status, tracked, indexed=census.indexed),
            active=len(census.active) + outcome.created - outcome.deleted,
            ready=census.ready - outcome.deleted_ready,
            terminating=len(census.terminating) + outcome.deleted,
        )
        notes = noted(census, status, turn.end)
        status = notes.status
        if turn.end is not None and notes.all:
            status = with_condition(status, turn.end)
        job = await self._write(turn, turn.job, status)
        released: set[str] = set()

        async def release(pod: Pod) -> None:
            await self._writes.release(turn.key, pod)
            released.add(pod.metadata.uid)

        failure = await at_once(notes.release, release)
        status = counted(status, tracked - released, indexed=census.indexed)
        finished = self._finished(turn, notes, status)
        if finished is not None:
            status = with_condition(status, finished)
            # A job may be suspended before its first status is written, and end with the pods that it has.
            start = status.start_time or finished.last_transition_time
            end = finished.last_transition_time if finished.type == COMPLETE else ""
            status = msgspec.structs.replace(status, start_time=start, completion_time=end)
        await self._write(turn, job, status)
        if failure is not None:
            raise failure
        if finished is not None:
            self._tell_end(turn.job, status, finished)

    async def _write(self, turn: _Turn, job: Job, status: JobStatus) -> Job:
        """Write a status that differs from the job's; then the failures that it counts have had their say."""
        if job.status == status:
            return job
        written = await self._writes.status(turn.key, job, status)
        self._backoffs[turn.key] = (job.metadata.uid, turn.backoff)
        self._wrote[turn.key] = self._clock.monotonic()
        return written

    def _finished(self, turn: _Turn, notes: Notes, status: JobStatus) -> Condition | None:
        """Return the last condition of a job all of whose pods have ended and are counted."""
        uncounted = status.uncounted_terminated_pods
        if turn.end is None or not notes.all or status.terminating:
            return None
        if uncounted is not None and (uncounted.succeeded or uncounted.failed):
            return None
        return final(turn.end, turn.now)

    def _tell_end(self, job: Job, status: JobStatus, end: Condition) -> None:
        if end.type != COMPLETE:
            self._tell(job, "Warning", end.reason, end.message)
            return
        if job.spec.completions is not None and status.succeeded > job.spec.completions:
            message = "Too many succeeded pods running after completion count reached"
            self._tell(job, "Warning", "TooManySucceededPods", message)
        self._tell(job, "Normal", "Completed", "Job completed")

    def _due(self, turn: _Turn) -> float | None:
        """Return in how many seconds the job has to be looked at again though nothing changes."""
        waits = [turn.plan.wait]
        if turn.end is None:
            waits.append(deadline_in(turn.job, turn.status, turn.now))
        return min((wait for wait in waits if wait is not None), default=None)

    async def _let_go(self, key: Key, job: Job) -> Result:
        """Take the finalizers from pods that turn up after the job has finished: nothing is counted any more."""
        self._backoffs.pop(key, None)
        self._wrote.pop(key, None)
        late = [pod for pod in controlled(self._pods, job.metadata.uid) if is_tracked(pod)]
        failure = await at_once(late, lambda pod: self._writes.release(key, pod))
        if failure is not None:
            raise failure
        return DONE

    def _forget(self, key: Key) -> None:
        self._expectations.forget(key)
        self._writes.forget(key)
        self._backoffs.pop(key, None)
        self._wrote.pop(key, None)

    def _tell(self, job: Job, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(JOBS, job), kind, reason, message)


def _backoff_of(census: Census) -> Backoff:
    """Return how a job stands that this process does not know yet, from the pods that are counted and still there."""
    noted = {*census.uncounted.succeeded, *census.uncounted.failed}
    known = [pod for pod in census.pods if not is_tracked(pod) or pod.metadata.uid in noted]
    succeeded = [pod for pod in known if pod.status.phase == "Succeeded"]
    return Backoff().after(succeeded, [pod for pod in known if pod.status.phase == "Failed"])


def _meaning(pod: Pod) -> tuple[object, ...]:
    """Return what of a pod matters to its job."""
    meta, status = pod.metadata, pod.status
    statuses = (*status.container_statuses, *status.init_container_statuses)
    owner = meta.controller
    return (
        status.phase if status.phase in FINISHED else "",
        is_ready(pod),
        meta.deletion_timestamp,
        is_tracked(pod),
        meta.labels,
        owner.uid if owner is not None else "",
        sum(each.restart_count for each in statuses),
    )
