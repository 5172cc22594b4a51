"""Measures the bus against a nats-server of its own, with TLS, keys and permissions as deployed.

    .venv/bin/python -m benchmarks.bus

Prints one line a figure: stored messages a second at 1, 256 and 256 fenced in flight, messages followed a second,
the time to follow 5,000 subjects, requests a second at 1 and 64 at a time, frames through a stream, and pods taken by
an informer, out of a snapshot and as they change.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

import certificates
from nats_server import EVERYTHING, NatsServer

from benchmarks.https import pod
from orch.bus import subjects
from orch.bus.protocol import Bus, Message, Signal, StreamSpec
from orch.bus.streams import FrameStream, open_stream, serve_streams
from orch.objects.scheme import PODS
from orch.runtime.informer import Informer
from orch_pb.v1.object_pb2 import ChangeType, ObjectEvent

PAYLOAD = bytes(1024)
SPEC = StreamSpec(name="BENCH", subjects=("bench.>",), max_per_subject=1)
USERS = ("system:apiserver", "system:kube-scheduler")


def report(what: str, count: float, seconds: float, unit: str = "/s") -> None:
    print(f"{what:<56}{count / seconds:>12,.0f} {unit}")


async def publish(bus: Bus, count: int, in_flight: int, *, fenced: bool = False) -> float:
    await bus.purge("BENCH")
    started = time.perf_counter()
    pending: list[asyncio.Future[int]] = []
    previous: str | None = "" if fenced else None
    for number in range(count):
        identity = f"{started}-{number}" if fenced else ""
        pending.append(await bus.send(f"bench.{number % 5000}", PAYLOAD, message_id=identity, previous_id=previous))
        previous = identity if fenced else None
        if len(pending) >= in_flight:
            await pending.pop(0)
    for future in pending:
        await future
    return time.perf_counter() - started


async def follow(bus: Bus, writer: Bus, count: int) -> tuple[float, float]:
    items = bus.follow("BENCH", ["bench.>"])
    started = time.perf_counter()
    while await anext(items) is not Signal.SYNCED:
        pass
    snapshot = time.perf_counter() - started
    writing = asyncio.create_task(publish_live(writer, count))
    seen, started = 0, time.perf_counter()
    while seen < count:
        seen += isinstance(await anext(items), Message)
    live = time.perf_counter() - started
    await writing
    await items.aclose()
    return snapshot, live


async def publish_live(bus: Bus, count: int) -> None:
    for number in range(count):
        await bus.send(f"bench.{number}", PAYLOAD)


async def request(bus: Bus, count: int, at_a_time: int) -> float:
    left = iter(range(count))

    async def ask() -> None:
        for _ in left:
            await bus.request("bench-rpc.me.get", PAYLOAD)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(ask())
    return time.perf_counter() - started


async def stream(bus: Bus, total: int) -> float:
    started = time.perf_counter()
    received = 0
    async with await open_stream(bus, "bench-stream", b"%d" % total) as frames:
        async for _, data in frames:
            received += len(data or b"")
    assert received == total
    return time.perf_counter() - started


def pod_event(number: int, revision: int) -> tuple[str, bytes]:
    """Return subject and data of a pod's change, as the relay sends them."""
    name = f"p{number}"
    document = json.loads(pod(name))
    document["metadata"] |= {"namespace": "bench", "uid": name, "resourceVersion": str(revision)}
    content = json.dumps(document).encode()
    event = ObjectEvent(
        type=ChangeType.MODIFIED,
        version="v1",
        resource="pods",
        namespace="bench",
        name=name,
        uid=name,
        revision=revision,
        checksum=zlib.crc32(content),
        json=content,
    )
    return subjects.object_subject("", "pods", "bench", name), event.SerializeToString()


async def inform(writer: Bus, reader: Bus, count: int) -> tuple[float, float]:
    """Return the seconds in which an informer takes a snapshot of `count` pods, and then a change of each."""
    await writer.ensure_stream(subjects.OBJECTS)

    async def write(events: list[tuple[str, bytes]], until: int) -> None:
        for subject, data in events:
            await writer.send(subject, data)
        progress = ObjectEvent(type=ChangeType.PROGRESS, revision=until).SerializeToString()
        await (await writer.send(subjects.objects_progress("", "pods"), progress))

    await write([pod_event(number, number + 1) for number in range(count)], count)
    changes = [pod_event(number, count + number + 1) for number in range(count)]
    informer = Informer(reader, PODS)
    running = asyncio.create_task(informer.run())
    started = time.perf_counter()
    await informer.wait_synced(60)
    snapshot = time.perf_counter() - started
    started = time.perf_counter()
    await asyncio.gather(write(changes, 2 * count), informer.wait_seen(2 * count, 60))
    live = time.perf_counter() - started
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return snapshot, live


async def serve(bus: Bus) -> None:
    async def answer(message: Message) -> bytes:
        return message.data

    async def pour(wanted: bytes, frames: FrameStream) -> None:
        for _ in range(int(wanted) // (1 << 16)):
            await frames.send(1, bytes(1 << 16))

    await bus.serve("bench-rpc.*.get", answer, service="bench")
    await serve_streams(bus, "bench-stream", pour)


async def with_server(run: Callable[[NatsServer], Awaitable[None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory), certificates.make(Path(directory)), dict.fromkeys(USERS, EVERYTHING))
        await server.start()
        try:
            await run(server)
        finally:
            await server.close()


async def measure(server: NatsServer) -> None:
    bus, other = await server.connect(USERS[0]), await server.connect(USERS[1])
    await bus.ensure_stream(SPEC)
    await serve(other)
    report("publish with acknowledgement, 1 in flight", 5000, await publish(bus, 5000, 1))
    report("publish with acknowledgement, 256 in flight", 50_000, await publish(bus, 50_000, 256))
    report("publish fenced by the one before, 256 in flight", 50_000, await publish(bus, 50_000, 256, fenced=True))
    snapshot, live = await follow(other, bus, 50_000)
    report("follow 5,000 subjects", snapshot * 1000, 1, "ms")
    report("follow live (writer in the same process)", 50_000, live)
    report("request and answer, 1 at a time", 5000, await request(bus, 5000, 1))
    report("request and answer, 64 at a time", 40_000, await request(bus, 40_000, 64))
    report("frame stream", 256, await stream(bus, 256 << 20), "MiB/s")
    snapshot, live = await inform(bus, other, 20_000)
    report("informer: pods of a snapshot", 20_000, snapshot)
    report("informer: changes of pods (writer in the same process)", 20_000, live)


if __name__ == "__main__":
    uvloop.run(with_server(measure))
