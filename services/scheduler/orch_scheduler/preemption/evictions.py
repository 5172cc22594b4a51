"""Makes victims go, many in one request: each is told why, deleted with its grace, and has an event that tells it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import ApiError, ConflictError, NotFoundError, OrchError
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, ObjectReference
from orch_pb.v1.preemption_pb2 import Preempted
from orch_scheduler.demand import Demand
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

RETRIES: Final = Counter("scheduler_preemption_eviction_retries", "Evictions of victims that had to be tried again")
FAILURES: Final = Counter("scheduler_preemption_eviction_failures", "Victims that could not be made to go")
PENDING: Final = Gauge("scheduler_preemption_evictions_pending", "Victims that are yet to be deleted")

_BATCH: Final = 64
_IN_FLIGHT: Final = 4
_ATTEMPTS: Final = 6
_FIRST_DELAY: Final = 0.2
_LAST_DELAY: Final = 5.0


class Victim(msgspec.Struct, frozen=True):
    """A pod that has to go, and for whom. `at_once`: nothing holds it once it was told to."""

    namespace: str
    name: str
    uid: str
    node: str
    demand: Demand
    preemptor: Waiting
    at_once: bool = False

    @property
    def reference(self) -> ObjectReference:
        """What events name the pod by."""
        return ObjectReference(api_version="v1", kind="Pod", namespace=self.namespace, name=self.name, uid=self.uid)


class Evictions:
    """Evicts in batches, a few under way. No more victims wait than were chosen, and each is chosen once.

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
            for _ in range(_IN_FLIGHT):
                tasks.create_task(self._work(), name="evictions")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._go(batch)
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(batch))  # who has gone already is found to have
                raise

    async def _go(self, batch: Sequence[Victim]) -> None:
        """Ask until each of the victims goes or has gone, or was asked often enough in vain."""
        delay = _FIRST_DELAY
        for last in (*(False,) * (_ATTEMPTS - 1), True):
            batch = await self._ask(batch, last=last)
            if not batch:
                return
            RETRIES.inc(len(batch))
            await self._clock.sleep(delay)
            delay = min(delay * 2, _LAST_DELAY)

    async def _ask(self, batch: Sequence[Victim], *, last: bool) -> Sequence[Victim]:
        """Send a request; return the victims that are to be asked again."""
        again: list[Victim] = []
        for victim, error in zip(batch, await self._answers(batch), strict=True):
            if error is None:
                message = f"Preempted by pod {victim.preemptor.uid} on node {victim.node}"
                self._recorder.event(victim.reference, "Normal", "Preempted", message)
            elif isinstance(error, NotFoundError | ConflictError):
                log.info("pod %s/%s had gone already: %s", victim.namespace, victim.name, error)
                self._failed(victim, error)
            elif last:
                FAILURES.inc()
                log.warning("pod %s/%s does not go: %s", victim.namespace, victim.name, error)
                self._failed(victim, error)
            else:
                again.append(victim)
        return again

    async def _answers(self, batch: Sequence[Victim]) -> Sequence[OrchError | None]:
        """Return what became of each victim: None where it goes."""
        try:
            replies = await self._client.preempt([_preempted(victim) for victim in batch])
        except OrchError as error:
            return [error] * len(batch)
        return [ApiError.decode(reply.status) if reply.status else None for reply in replies]


def _preempted(victim: Victim) -> Preempted:
    message = f"{victim.preemptor.scheduler}: preempting to accommodate a higher priority pod"
    return Preempted(
        namespace=victim.namespace,
        name=victim.name,
        uid=victim.uid,
        message=message,
        trace=victim.preemptor.trace,
    )
