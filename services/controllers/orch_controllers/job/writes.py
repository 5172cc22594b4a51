"""A job's own writes, each of which has to be seen before the job is decided on again.

A status is computed from the job and its pods as the informers show them; one that lacks the last write would count a
pod twice, or not see that it was counted. So the job waits until its informers have shown what it wrote. A write whose
answer did not come is looked up first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from orch.errors import NotFoundError, OrchError
from orch.objects.batch import Job, JobStatus
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS, PODS
from orch.runtime.client import Client
from orch.runtime.informer import Informers
from orch.runtime.reconcile import Key
from orch_controllers.expectations import UNANSWERED, Written
from orch_controllers.job.pods import is_tracked, without_finalizer
from orch_controllers.job.status import as_patch

log = logging.getLogger(__name__)


class JobWrites:
    """Writes statuses of jobs and takes the finalizers from their pods."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._pods = informers.of(PODS)
        self._written = Written(informers.of(JOBS))
        self._doubtful: set[Key] = set()
        """Jobs whose last status was not answered."""
        self._released: defaultdict[Key, dict[str, str]] = defaultdict(dict)
        """Names by uid of pods without finalizer that the informer may still show with it."""
        self._maybe_released: defaultdict[Key, dict[str, str]] = defaultdict(dict)
        """Names by uid of pods whose release was not answered."""

    async def status(self, key: Key, job: Job, status: JobStatus) -> Job:
        """Write the status, if the job is still as it was read; return the job. Raises what the client raises."""
        patch = as_patch(job, status)
        try:
            written = await self._client.patch(JOBS, key.namespace, key.name, patch, subresource="status")
        except (*UNANSWERED, asyncio.CancelledError):
            self._doubtful.add(key)
            raise
        self._written.note(key, written)
        return written

    async def release(self, key: Key, pod: Pod) -> None:
        """Take the finalizer from a pod, which may be gone already. Raises what the client raises."""
        meta = pod.metadata
        released = self._released[key]
        released[meta.uid] = meta.name
        patch = without_finalizer(meta.uid)
        try:
            await self._client.patch(PODS, meta.namespace, meta.name, patch, strategic=True)
        except NotFoundError:
            log.debug("pod %s/%s was gone already", meta.namespace, meta.name)
        except (*UNANSWERED, asyncio.CancelledError):
            self._maybe_released[key][meta.uid] = released.pop(meta.uid)
            raise
        except OrchError:
            del released[meta.uid]
            raise

    async def settle(self, key: Key) -> None:
        """Find out what became of the writes that were not answered. Raises what the client raises."""
        if key in self._doubtful:
            try:
                self._written.note(key, await self._client.get(JOBS, key.namespace, key.name))
            except NotFoundError:
                log.debug("job %s is gone", key)
            self._doubtful.discard(key)
        doubtful = self._maybe_released.get(key)
        while doubtful:
            uid, name = next(iter(doubtful.items()))
            if await self._is_released(key.namespace, name, uid):
                self._released[key][uid] = name
            del doubtful[uid]
        self._maybe_released.pop(key, None)

    def shown(self, key: Key) -> bool:
        """Return whether the informers have shown everything that was written."""
        released = self._released.get(key, {})
        for uid in [uid for uid, name in released.items() if self._shows_released(key.namespace, name, uid)]:
            del released[uid]
        if released:
            return False
        self._released.pop(key, None)
        return self._written.shown(key)

    def forget(self, key: Key) -> None:
        """Drop what was written for a job that is gone."""
        self._written.forget(key)
        self._doubtful.discard(key)
        self._released.pop(key, None)
        self._maybe_released.pop(key, None)

    async def _is_released(self, namespace: str, name: str, uid: str) -> bool:
        try:
            pod = await self._client.get(PODS, namespace, name)
        except NotFoundError:
            return True
        return pod.metadata.uid != uid or not is_tracked(pod)

    def _shows_released(self, namespace: str, name: str, uid: str) -> bool:
        item = self._pods.get(namespace, name)
        return item is None or item.uid != uid or not is_tracked(item.object)
