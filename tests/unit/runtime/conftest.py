from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from orch.bus.memory import MemoryBroker
from orch.bus.protocol import Bus
from orch.bus.subjects import OBJECTS, object_subject, objects_progress
from orch.clock import ManualClock
from orch.objects.scheme import DEPLOYMENTS, NODES, PODS, REPLICA_SETS, Kind
from orch.telemetry import TraceContext
from orch_pb.v1 import object_pb2

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def bus(broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = broker.connect("system:kube-scheduler")
    yield bus
    await bus.close()


@pytest.fixture
def eventually() -> Eventually:
    """Return what waits until a condition holds, at most five seconds."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - a condition over other tasks, not an event of theirs
                await asyncio.sleep(0.001)

    return wait


@asynccontextmanager
async def background(work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    """Run `work` for as long as the context lasts; what it raises fails the test."""
    task = asyncio.ensure_future(work)
    try:
        yield task
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait((task,))


class Relay:
    """Publishes objects as the api's relay does."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def start(self, *kinds: Kind[Any]) -> Relay:
        """Make the stream and mark the snapshots of `kinds` as complete."""
        await self.bus.ensure_stream(OBJECTS)
        for kind in kinds:
            await self.mark(kind, 0)
        return self

    async def mark(self, kind: Kind[Any], revision: int) -> object_pb2.ObjectEvent:
        """Say that every change up to `revision` has been sent."""
        event = object_pb2.ObjectEvent(type=object_pb2.PROGRESS, revision=revision)
        await self.bus.append(objects_progress(kind.group, kind.resource), event.SerializeToString())
        return event

    async def put(
        self,
        kind: Kind[Any],
        namespace: str,
        name: str,
        revision: int,
        *,
        uid: str = "",
        labels: dict[str, str] | None = None,
        owners: list[dict[str, Any]] | None = None,
        trace: str = "",
        **fields: Any,
    ) -> object_pb2.ObjectEvent:
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid or f"uid-{name}",
                "resourceVersion": str(revision),
                "labels": labels or {},
                "ownerReferences": owners or [],
            },
            **fields,
        }
        return await self.send(kind, namespace, name, revision, msgspec.json.encode(body), uid=uid, trace=trace)

    async def send(
        self,
        kind: Kind[Any],
        namespace: str,
        name: str,
        revision: int,
        json: bytes,
        *,
        uid: str = "",
        trace: str = "",
        checksum: int | None = None,
        type: object_pb2.ChangeType = object_pb2.MODIFIED,  # noqa: A002 - the field's name
    ) -> object_pb2.ObjectEvent:
        event = object_pb2.ObjectEvent(
            type=type,
            group=kind.group,
            version=kind.version,
            resource=kind.resource,
            namespace=namespace,
            name=name,
            uid=uid or f"uid-{name}",
            revision=revision,
            trace=TraceContext(traceparent=trace) if trace else None,
            checksum=zlib.crc32(json) if checksum is None else checksum,
            json=json,
        )
        await self.bus.append(object_subject(kind.group, kind.resource, namespace, name), event.SerializeToString())
        return event

    async def delete(self, kind: Kind[Any], namespace: str, name: str, revision: int, *, trace: str = "") -> None:
        await self.send(kind, namespace, name, revision, b"{}", trace=trace, type=object_pb2.DELETED)


@pytest.fixture
async def relay(bus: Bus) -> Relay:
    return await Relay(bus).start(PODS, NODES, DEPLOYMENTS, REPLICA_SETS)


@pytest.fixture
def running() -> Callable[[Awaitable[None]], Any]:
    return background
