"""Takes the finalizers from pods whose job is gone: nobody will count them, and nothing else would let them go."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from orch.errors import NotFoundError
from orch.objects.batch import Job
from orch.objects.meta import OwnerReference
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS, PODS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.job.pods import is_tracked, without_finalizer
from orch_controllers.ownership import controlled, index_by_controller, is_of

log = logging.getLogger(__name__)


class JobOrphanReconciler:
    """Reconciles pods that have the finalizer of jobs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._jobs = context.informers.of(JOBS)
        self._pods = context.informers.of(PODS)
        index_by_controller(context.informers, PODS)

    def keys_of_job(self, change: Change[Job]) -> Iterable[Key]:
        """Return the pods of a job that is gone."""
        if change.new is not None or change.old is None:
            return ()
        pods = (pod for pod in controlled(self._pods, change.old.uid) if is_tracked(pod))
        return [Key(pod.metadata.namespace, pod.metadata.name) for pod in pods]

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return a pod that has the finalizer and no job that is known here."""
        new = change.new
        if new is None or not is_tracked(new.object) or self._has_job(new.object):
            return ()
        return (Key(new.namespace, new.name),)

    async def reconcile(self, key: Key) -> Result:
        """Let one pod go if its job is gone."""
        item = self._pods.get(key.namespace, key.name)
        if item is None or not is_tracked(item.object) or self._has_job(item.object):
            return DONE
        owner = item.object.metadata.controller
        if owner is not None and (not _is_job(owner) or await self._stands(key.namespace, owner)):
            return DONE
        try:
            await self._client.patch(PODS, key.namespace, key.name, without_finalizer(item.uid), strategic=True)
        except NotFoundError:
            log.debug("pod %s was gone already", key)
        return DONE

    def _has_job(self, pod: Pod) -> bool:
        owner = pod.metadata.controller
        job = self._jobs.get(pod.metadata.namespace, owner.name) if owner is not None else None
        return job is not None and owner is not None and job.uid == owner.uid

    async def _stands(self, namespace: str, owner: OwnerReference) -> bool:
        """Return whether the job exists: the informer of jobs may lag behind that of pods."""
        try:
            job = await self._client.get(JOBS, namespace, owner.name)
        except NotFoundError:
            return False
        return job.metadata.uid == owner.uid


def _is_job(owner: OwnerReference) -> bool:
    return owner.kind == JOBS.name and is_of(owner.api_version, JOBS)
