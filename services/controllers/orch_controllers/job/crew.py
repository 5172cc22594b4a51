"""Making and deleting a job's pods, and telling people about it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orch.errors import AlreadyExistsError, OrchError
from orch.objects.batch import Job
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS
from orch.runtime.events import EventRecorder, EventType, reference
from orch.runtime.reconcile import Key
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.job.plan import Creation
from orch_controllers.job.pods import body_of, is_tracked, name_base
from orch_controllers.job.writes import JobWrites
from orch_controllers.pod_state import is_ready
from orch_controllers.pod_templates import generated_name
from orch_controllers.pod_writes import PodWrites
from orch_controllers.slow_start import at_once, slow_start

_NAMES = 4


class Outcome(msgspec.Struct, frozen=True):
    """How many pods were made and deleted, of those how many were ready, and what failed first."""

    created: int = 0
    deleted: int = 0
    deleted_ready: int = 0
    failure: OrchError | None = None


class Crew:
    """Makes and deletes pods of jobs."""

    def __init__(self, pods: PodWrites, jobs: JobWrites, recorder: EventRecorder) -> None:
        self._pods = pods
        self._jobs = jobs
        self._recorder = recorder

    async def create(self, key: Key, job: Job, creations: Sequence[Creation]) -> Outcome:
        """Make pods. What the api refuses is told to people, unless the namespace is going away."""
        created, failure = await slow_start(creations, lambda each: self._create(key, job, each))
        if failure is not None and is_namespace_terminating(failure):
            return Outcome(created=created)
        if failure is not None:
            self._tell(job, "Warning", "FailedCreate", f"Error creating: {failure}")
        return Outcome(created=created, failure=failure)

    async def delete(self, key: Key, job: Job, pods: Sequence[Pod], *, counted: bool) -> Outcome:
        """Delete pods. Unless they are to be `counted`, their finalizers are taken away before."""
        gone: list[Pod] = []

        async def delete(pod: Pod) -> None:
            if not counted and is_tracked(pod):
                await self._jobs.release(key, pod)
            if await self._pods.delete(key, pod):
                self._tell(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
            gone.append(pod)

        failure = await at_once(pods, delete)
        if failure is not None:
            self._tell(job, "Warning", "FailedDelete", f"Error deleting: {failure}")
        return Outcome(deleted=len(gone), deleted_ready=sum(map(is_ready, gone)), failure=failure)

    async def _create(self, key: Key, job: Job, creation: Creation) -> None:
        for attempt in range(_NAMES):
            name = generated_name(name_base(job, creation.index))
            try:
                await self._pods.create(key, body_of(job, name, creation.index, creation.replaced))
            except AlreadyExistsError:
                if attempt == _NAMES - 1:
                    raise
            else:
                self._tell(job, "Normal", "SuccessfulCreate", f"Created pod: {name}")
                return

    def _tell(self, job: Job, kind: EventType, reason: str, message: str) -> None:
        self._recorder.event(reference(JOBS, job), kind, reason, message)
