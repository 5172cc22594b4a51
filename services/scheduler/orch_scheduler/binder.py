"""Hands placements to the api, many in one request; each is committed or refused alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.errors import ApiError, OrchError
from orch.runtime.client import Client
from orch_pb.v1 import rpc_pb2
from orch_pb.v1.object_pb2 import TraceContext
from orch_scheduler.queue import Waiting

log = logging.getLogger(__name__)

_BATCH: Final = 128
_IN_FLIGHT: Final = 4

FAILURES: Final = Counter("scheduler_binding_failures", "Placements that the api refused or did not take", ("reason",))


class Bind(msgspec.Struct, frozen=True):
    """A placement to commit. `trace` is the span under which it was decided."""

    pod: Waiting
    node: str
    trace: TraceContext | None


class Binder:
    """Sends binds; at most four requests are under way."""

    def __init__(
        self, client: Client, bound: Callable[[Bind], None], failed: Callable[[Bind, OrchError], None]
    ) -> None:
        self._client = client
        self._bound = bound
        self._failed = failed
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    async def bind(self, binds: Sequence[Bind], tasks: asyncio.TaskGroup) -> None:
        """Start committing; returns when all are under way, so a slow api holds the scheduler back."""
        for start in range(0, len(binds), _BATCH):
            await self._slots.acquire()
            tasks.create_task(self._send(binds[start : start + _BATCH]))

    async def _send(self, binds: Sequence[Bind]) -> None:
        try:
            try:
                replies = await self._client.bind([_binding(bind) for bind in binds])
            except OrchError as error:
                FAILURES.labels(type(error).__name__).inc(len(binds))
                log.warning("binding %d pods failed: %s", len(binds), error)
                for bind in binds:
                    self._failed(bind, error)
                return
            for bind, reply in zip(binds, replies, strict=True):
                if reply.status:
                    refusal = ApiError.decode(reply.status)
                    FAILURES.labels(refusal.reason).inc()
                    self._failed(bind, refusal)
                else:
                    self._bound(bind)
        finally:
            self._slots.release()


def _binding(bind: Bind) -> rpc_pb2.Binding:
    pod = bind.pod
    return rpc_pb2.Binding(
        namespace=pod.namespace, name=pod.name, uid=pod.uid, node=bind.node, revision=0, trace=bind.trace
    )
