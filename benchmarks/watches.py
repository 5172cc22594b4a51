"""Watches over HTTPS: many clients follow the same pods while these change; how soon all of them know of a change."""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop

from benchmarks.https import Access, answered, fill

WATCHERS: Final = 1000
RATE: Final = 200
SECONDS: Final = 15.0
_PODS: Final = 100
_WRITERS: Final = 8
_MARK: Final = b'"sent-at":"'
_NAMESPACE: Final = "watched"
_CONNECTING: Final = 50
_PATIENCE: Final = 60.0


class Result(msgspec.Struct, frozen=True):
    """Changes a second, the share of events that reached their watches, and milliseconds from write to read."""

    watchers: int
    rate: float
    delivered: float
    p50: float
    p99: float
    slowest: float


class _Follower(asyncio.Protocol):
    """A watch. Of each piece that comes, the oldest and the newest event's age are kept: the others lie between."""

    def __init__(self, path: str, ages: list[float]) -> None:
        self.events = 0
        self.begun = asyncio.get_running_loop().create_future()
        self._path = path
        self._ages = ages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(b"GET %s HTTP/1.1\r\nHost: orch\r\n\r\n" % self._path.encode())

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            self.begun.set_result(b"" if data[9:12] == b"200" else data)
        first = data.find(_MARK)
        if first < 0:
            return
        now = time.time_ns()
        self.events += data.count(_MARK)
        for place in (first, data.rfind(_MARK)):
            start = place + len(_MARK)
            stamp = data[start : start + 19]
            if len(stamp) == 19:
                self._ages.append((now - int(stamp)) / 1e6)


async def _follow(access: Access, version: str, watchers: int, pipe: Connection) -> None:
    """Connect, say so, and follow until told to stop; then say how many events came, and how old they were."""
    loop = asyncio.get_running_loop()
    context = access.context()
    path = f"/api/v1/namespaces/{_NAMESPACE}/pods?watch=1&resourceVersion={version}&timeoutSeconds=600"
    ages: list[float] = []
    followers: list[_Follower] = []
    for start in range(0, watchers, _CONNECTING):
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda: _Follower(path, ages), "127.0.0.1", access.port, ssl=context)
                for _ in range(start, min(start + _CONNECTING, watchers))
            )
        )
        followers += [follower for _, follower in made]
    if refused := [answer for answer in await asyncio.gather(*(one.begun for one in followers)) if answer]:
        raise RuntimeError(f"a watch was refused: {refused[0].decode()}")
    pipe.send("ready")
    await loop.run_in_executor(None, pipe.recv)
    ages.sort()
    pipe.send((sum(follower.events for follower in followers), ages))
    for follower in followers:
        follower.transport.close()


def _followers(access: Access, version: str, watchers: int, pipe: Connection) -> None:
    uvloop.run(_follow(access, version, watchers, pipe))


async def _connect(access: Access, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", access.port, ssl=context, limit=1 << 25)


async def _version(access: Access) -> str:
    """Return the version to watch from."""
    reader, writer = await _connect(access, access.context())
    writer.write(b"GET /api/v1/namespaces/%s/pods?limit=1 HTTP/1.1\r\nHost: orch\r\n\r\n" % _NAMESPACE.encode())
    listed = msgspec.json.decode(await answered(reader))
    writer.close()
    return listed["metadata"]["resourceVersion"]


async def _write(access: Access, rate: float, seconds: float) -> int:
    """Change pods so many times a second; return how many changes were made."""
    context = access.context()
    begun = time.perf_counter()
    made = 0

    async def change(number: int) -> None:
        nonlocal made
        reader, writer = await _connect(access, context)
        turn = 0
        while (due := turn * _WRITERS / rate) < seconds:
            await asyncio.sleep(max(begun + due - time.perf_counter(), 0))
            body = b'{"metadata":{"annotations":{"sent-at":"%d"}}}' % time.time_ns()
            name = (number + turn * _WRITERS) % _PODS
            writer.write(
                b"PATCH /api/v1/namespaces/%s/pods/p%d HTTP/1.1\r\nHost: orch\r\n"
                b"Content-Type: application/merge-patch+json\r\nContent-Length: %d\r\n\r\n%s"
                % (_NAMESPACE.encode(), name, len(body), body)
            )
            await answered(reader)
            made += 1
            turn += 1
        writer.close()

    await asyncio.gather(*map(change, range(_WRITERS)))
    return made


def _told(pipe: Connection) -> Any:
    """Return what the other process says. Raises RuntimeError when it says nothing."""
    if not pipe.poll(_PATIENCE):
        raise RuntimeError("the watches' process does not answer")
    return pipe.recv()


def measure(kubeconfig: Path, *, watchers: int = WATCHERS, rate: float = RATE, seconds: float = SECONDS) -> Result:
    """Measure a running cluster's api."""
    with tempfile.TemporaryDirectory() as folder:
        access = Access.of(kubeconfig, Path(folder))
        time.sleep(3)  # an api process that has just started knows no versions from before
        fill(access, _NAMESPACE, _PODS)
        version = uvloop.run(_version(access))
        spawn = multiprocessing.get_context("spawn")
        near, far = spawn.Pipe()
        process = spawn.Process(target=_followers, args=(access, version, watchers, far))
        process.start()
        try:
            _told(near)
            started = time.perf_counter()
            made = uvloop.run(_write(access, rate, seconds))
            elapsed = time.perf_counter() - started
            time.sleep(2)  # what is on its way arrives
            near.send("stop")
            events, ages = _told(near)
        finally:
            process.join(20)
            process.kill()
    return Result(
        watchers,
        made / elapsed,
        events / (made * watchers),
        ages[len(ages) // 2],
        ages[int(len(ages) * 0.99)],
        ages[-1],
    )


def show(result: Result) -> None:
    """Print what came of it."""
    print(f"{result.watchers:,} watches, {result.rate:.0f} changes a second: {result.delivered:.0%} of them came,")
    print(f"p50 {result.p50:.0f} ms, p99 {result.p99:.0f} ms, slowest {result.slowest:.0f} ms after the write was sent")
