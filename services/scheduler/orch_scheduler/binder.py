"""Hands placements to the api, many in one request; each is committed or refused alone.

A placement is in one of three states for its pod's node: committed, refused, or unknown, when no answer came. What is
unknown is asked again until there is an answer, and its room is not given to others meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ApiError, ConflictError, NotFoundError, OrchError
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch_pb.v1 import rpc_pb2
from orch_pb.v1.object_pb2 import TraceContext
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

_BATCH: Final = 128
_IN_FLIGHT: Final = 4
_FIRST_DELAY: Final = 0.1
_LAST_DELAY: Final = 2.0
_TOO_MANY: Final = 429
_SERVERS_FAULT: Final = 500

FAILURES: Final = Counter("scheduler_binding_failures", "Placements that the api refused or did not take", ("reason",))
RETRIES: Final = Counter("scheduler_binding_retries", "Requests to bind that were repeated for want of an answer")


class Bind(msgspec.Struct, frozen=True):
    """A placement to commit. `trace` is the span under which it was decided, `turn` the turn in which it was."""

    pod: Waiting
    node: str
    trace: TraceContext | None
    turn: int = 0


class Binder:
    """Sends binds; at most four requests are under way. `bound` is told the version that a binding made of its pod."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        bound: Callable[[Bind, int], None],
        failed: Callable[[Bind, OrchError], None],
        turn: Callable[[], int] = lambda: 0,
    ) -> None:
        self._turn = turn
        self._client = client
        self._clock = clock
        self._bound = bound
        self._failed = failed
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """Begin a leader's term: nothing of an earlier one is under way any more."""
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._under_way = 0
        self._idle.set()

    async def bind(self, binds: Sequence[Bind], tasks: asyncio.TaskGroup) -> None:
        """Start committing; returns when all are under way, so a slow api holds the scheduler back."""
        for start in range(0, len(binds), _BATCH):
            await self._slots.acquire()
            self._under_way += 1
            self._idle.clear()
            tasks.create_task(self._send(binds[start : start + _BATCH]), name="bind")

    async def wait_idle(self) -> None:
        """Return when no request is under way."""
        await self._idle.wait()

    async def _send(self, binds: Sequence[Bind]) -> None:
        try:
            await self._commit(binds)
        finally:
            self._slots.release()
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _commit(self, binds: Sequence[Bind]) -> None:
        turn = self._turn()
        for bind in binds:
            if bind.turn != turn:  # it waited for volumes meanwhile, and others may have taken its room
                self._refused(bind, ConflictError.of("pods/binding", "", bind.pod.name, "decided in a past turn"))
        binds = [bind for bind in binds if bind.turn == turn]
        delay = _FIRST_DELAY
        while binds:
            binds = await self._ask(binds)
            if binds:
                RETRIES.inc()
                log.warning("whether %d pods are bound is not known, again in %.1f s", len(binds), delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)

    async def _ask(self, binds: Sequence[Bind]) -> list[Bind]:
        """Send a request; return those of the placements whose fate is unknown after it."""
        try:
            replies = await self._client.bind([_binding(bind) for bind in binds])
        except OrchError as error:
            log.info("a request to bind had no answer: %s", error)
            return list(binds)
        unknown: list[Bind] = []
        for bind, reply in zip(binds, replies, strict=True):
            if not reply.status:
                self._bound(bind, reply.revision)
            elif (error := ApiError.decode(reply.status)).code >= _SERVERS_FAULT or error.code == _TOO_MANY:
                unknown.append(bind)
            else:
                await self._settle(bind, error)
        return unknown

    async def _settle(self, bind: Bind, error: ApiError) -> None:
        """Find out what a refusal means: an earlier request, whose answer was lost, may have bound the pod."""
        version = await self._version(bind) if isinstance(error, ConflictError) else 0
        if version:
            self._bound(bind, version)
        else:
            self._refused(bind, error)

    async def _version(self, bind: Bind) -> int:
        """Return the version of a pod that is bound as it was to be, 0 when it is not."""
        pod = bind.pod
        delay = _FIRST_DELAY
        while True:
            try:
                found = await self._client.get(PODS, pod.namespace, pod.name)
            except NotFoundError:
                return 0
            except OrchError as error:
                RETRIES.inc()
                log.warning("whether %s/%s is bound is not known yet: %s", pod.namespace, pod.name, error)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)
            else:
                stands = found.metadata.uid == pod.uid and found.spec.node_name == bind.node
                return int(found.metadata.resource_version) if stands else 0

    def _refused(self, bind: Bind, error: ApiError) -> None:
        FAILURES.labels(error.reason).inc()
        self._failed(bind, error)


def _binding(bind: Bind) -> rpc_pb2.Binding:
    pod = bind.pod
    return rpc_pb2.Binding(
        namespace=pod.namespace, name=pod.name, uid=pod.uid, node=bind.node, revision=0, trace=bind.trace
    )
