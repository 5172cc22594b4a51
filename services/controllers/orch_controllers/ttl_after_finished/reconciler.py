"""Deletes a job when the time that it is to stay after its end, its ttlSecondsAfterFinished, is over."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from orch.clock import parse_rfc3339
from orch.errors import NotFoundError
from orch.objects.batch import Job
from orch.objects.scheme import JOBS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context

log = logging.getLogger(__name__)


class FinishedJobReconciler:
    """Reconciles jobs that have finished."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._jobs = context.informers.of(JOBS)

    def keys_of_job(self, change: Change[Job]) -> Iterable[Key]:
        """Return a job that has finished and is not to stay."""
        new = change.new
        return () if new is None or _left(new.object, self._clock.now()) is None else (Key(new.namespace, new.name),)

    async def reconcile(self, key: Key) -> Result:
        """Delete one job if it is time; the api's word counts, for its time may just have been changed."""
        item = self._jobs.get(key.namespace, key.name)
        left = None if item is None else _left(item.object, self._clock.now())
        if left is None or left > 0:
            return Result(left)
        try:
            job = await self._client.get(JOBS, key.namespace, key.name)
            left = _left(job, self._clock.now())
            if left is None or left > 0:
                return Result(left)
            meta = job.metadata
            version = meta.resource_version
            await self._client.delete(
                JOBS, key.namespace, key.name, uid=meta.uid, resource_version=version, propagation="Foreground"
            )
        except NotFoundError:
            log.debug("job %s was gone already", key)
        return DONE


def _left(job: Job, now: datetime) -> float | None:
    """Return for how many seconds the job is to stay, None when that has no end or is over already."""
    ttl, end = job.spec.ttl_seconds_after_finished, job.status.finished
    if ttl is None or end is None or job.metadata.deletion_timestamp:
        return None
    return ttl - (now - parse_rfc3339(end.last_transition_time)).total_seconds()
