"""Makes victims go: says why in their status, deletes them with their grace, and tells it in an event."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock, rfc3339
from orch.errors import ApiError, ConflictError, NotFoundError, OrchError
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, ObjectReference
from orch_scheduler.demand import Demand
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

RETRIES: Final = Counter("scheduler_preemption_eviction_retries", "Evictions of victims that had to be tried again")
FAILURES: Final = Counter("scheduler_preemption_eviction_failures", "Victims that could not be made to go")
PENDING: Final = Gauge("scheduler_preemption_evictions_pending", "Victims that are yet to be deleted")

_WORKERS: Final = 16
_ATTEMPTS: Final = 6
_FIRST_DELAY: Final = 0.2
_LAST_DELAY: Final = 5.0


class Victim(msgspec.Struct, frozen=True):
    """A pod that has to go, and for whom."""

    namespace: str
    name: str
    uid: str
    node: str
    demand: Demand
    preemptor: Waiting

    @property
    def reference(self) -> ObjectReference:
        """What events name the pod by."""
        return ObjectReference(api_version="v1", kind="Pod", namespace=self.namespace, name=self.name, uid=self.uid)


class Evictions:
    """Evicts by a few workers. No more victims wait than were chosen, and each is chosen once.

    `failed` is told of a victim that stays, with what the api said.
    """

    def __init__(
        self, client: Client, recorder: EventRecorder, clock: Clock, failed: Callable[[Victim, OrchError], None]
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._failed = failed
        self._waiting: deque[Victim] = deque()
        self._more = asyncio.Event()
        PENDING.set_function(lambda: len(self._waiting))

    def evict(self, victim: Victim) -> None:
        """Make a pod go; the outcome is seen on the informers."""
        self._waiting.append(victim)
        self._more.set()

    async def run(self) -> None:
        """Evict for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work(), name="evictions")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            victim = self._waiting.popleft()
            try:
                await self._go(victim)
            except asyncio.CancelledError:
                self._waiting.appendleft(victim)
                raise

    async def _go(self, victim: Victim) -> None:
        delay = _FIRST_DELAY
        for attempt in range(_ATTEMPTS):
            try:
                await self._delete(victim)
            except (NotFoundError, ConflictError) as error:
                log.info("pod %s/%s had gone already: %s", victim.namespace, victim.name, error)
                self._failed(victim, error)
                return
            except OrchError as error:
                if attempt == _ATTEMPTS - 1:
                    FAILURES.inc()
                    log.warning("pod %s/%s does not go: %s", victim.namespace, victim.name, error)
                    self._failed(victim, error)
                    return
                RETRIES.inc()
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)
            else:
                message = f"Preempted by pod {victim.preemptor.uid} on node {victim.node}"
                self._recorder.event(victim.reference, "Normal", "Preempted", message)
                return

    async def _delete(self, victim: Victim) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{victim.preemptor.scheduler}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        where = (PODS, victim.namespace, victim.name)
        try:
            await self._client.patch(*where, patch, subresource="status", strategic=True)
        except (NotFoundError, ConflictError):
            raise
        except ApiError as error:  # whatever it is, the pod can go without saying why
            log.warning("pod %s/%s took no condition: %s", victim.namespace, victim.name, error)
        await self._client.delete(*where, uid=victim.uid)
