"""Measures the bus against a nats-server of its own, with TLS, keys and permissions as deployed.

    .venv/bin/python -m benchmarks.bus

Prints one line a figure: stored messages a second at 1, 256 and 256 fenced in flight, messages followed a second,
the time to follow 5,000 subjects, requests a second at 1 and 64 at a time, and frames through a stream.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

import certificates
from nats_server import EVERYTHING, NatsServer

from orch.bus.protocol import Bus, Message, Signal, StreamSpec
from orch.bus.streams import FrameStream, open_stream, serve_streams

PAYLOAD = bytes(1024)
SPEC = StreamSpec(name="BENCH", subjects=("bench.>",), max_per_subject=1)
USERS = ("system:apiserver", "system:kube-scheduler")


def report(what: str, count: float, seconds: float, unit: str = "/s") -> None:
    print(f"{what:<52}{count / seconds:>12,.0f} {unit}")


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


if __name__ == "__main__":
    uvloop.run(with_server(measure))
