"""One suite over both buses: `broker` is the in-memory one, then a real nats-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import certificates
import pytest
from nats_server import EVERYTHING, NatsServer

from orch.bus.jetstream import stream_request
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import permissions_of
from orch.bus.protocol import Bus, Message, Signal

USERS = (
    "system:apiserver",
    "system:kube-scheduler",
    "system:kube-controller-manager",
    "system:node:a",
    "system:node:b",
    "orch:admin",
)


class Broker(Protocol):
    async def connect(self, user: str = "system:apiserver") -> Bus: ...
    async def stop(self) -> None: ...
    async def start(self) -> None: ...
    async def delete_stream(self, name: str) -> None: ...


class MemoryBackend:
    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._buses: list[Bus] = []

    async def connect(self, user: str = "system:apiserver") -> Bus:
        bus = self._broker.connect(user)
        self._buses.append(bus)
        return bus

    async def stop(self) -> None:
        self._broker.stop()

    async def start(self) -> None:
        self._broker.start()

    async def delete_stream(self, name: str) -> None:
        self._broker.delete_stream(name)

    async def close(self) -> None:
        for bus in self._buses:
            await bus.close()


class NatsBackend:
    def __init__(self, server: NatsServer) -> None:
        self.server = server

    async def connect(self, user: str = "system:apiserver") -> Bus:
        return await self.server.connect(user)

    async def stop(self) -> None:
        await self.server.kill()

    async def start(self) -> None:
        await self.server.start()

    async def delete_stream(self, name: str) -> None:
        bus = await self.server.connect("system:apiserver")
        await bus.request(stream_request("DELETE", name), b"")

    async def close(self) -> None:
        await self.server.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Files:
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def broker(
    request: pytest.FixtureRequest, tmp_path: Path, files: certificates.Files
) -> AsyncIterator[MemoryBackend | NatsBackend]:
    backend = await _backend(request.param, tmp_path, files, restricted=False)
    yield backend
    await backend.close()


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def guarded(
    request: pytest.FixtureRequest, tmp_path: Path, files: certificates.Files
) -> AsyncIterator[MemoryBackend | NatsBackend]:
    """A broker that enforces the permissions of orch's roles."""
    backend = await _backend(request.param, tmp_path, files, restricted=True)
    yield backend
    await backend.close()


@pytest.fixture
async def server(tmp_path: Path, files: certificates.Files) -> AsyncIterator[NatsServer]:
    """A real server, for what only that can show."""
    server = NatsServer(tmp_path, files, dict.fromkeys(USERS, EVERYTHING))
    await server.start()
    yield server
    await server.close()


async def _backend(
    kind: str, directory: Path, files: certificates.Files, *, restricted: bool
) -> MemoryBackend | NatsBackend:
    if kind == "memory":
        return MemoryBackend(MemoryBroker(permissions=permissions_of if restricted else None))
    users = {user: permissions_of(user) if restricted else EVERYTHING for user in USERS}
    server = NatsServer(directory, files, users)
    await server.start()
    return NatsBackend(server)


@pytest.fixture
async def bus(broker: Broker) -> Bus:
    return await broker.connect()


class Follower:
    """Reads a follower in the background and keeps what came."""

    def __init__(self, bus: Bus, stream: str, subjects: Iterable[str]) -> None:
        self.items: list[Message | Signal] = []
        self.state: dict[str, bytes] = {}
        self.resets = 0
        self.synced = False
        self._confirmed: set[str] = set()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(bus, stream, tuple(subjects)))

    async def _read(self, bus: Bus, stream: str, subjects: tuple[str, ...]) -> None:
        async with aclosing(bus.follow(stream, subjects)) as items:
            async for item in items:
                self.items.append(item)
                self._apply(item)
                self._changed.set()

    def _apply(self, item: Message | Signal) -> None:
        if isinstance(item, Message):
            self.state[item.subject] = item.data
            self._confirmed.add(item.subject)
        elif item is Signal.RESET:
            self.resets += 1
            self.synced = False
            self._confirmed = set()
        else:
            self.synced = True
            self.state = {subject: data for subject, data in self.state.items() if subject in self._confirmed}

    def data(self) -> list[bytes]:
        return [item.data for item in self.items if isinstance(item, Message)]

    async def until(self, condition: Callable[[Follower], bool], timeout: float = 15) -> None:
        async with asyncio.timeout(timeout):
            while not condition(self):
                if self._task.done():
                    await self._task
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def followed() -> AsyncGenerator[Callable[..., Follower]]:
    """Start followers that end with the test."""
    started: list[Follower] = []

    def start(bus: Bus, stream: str, *subjects: str) -> Follower:
        started.append(Follower(bus, stream, subjects))
        return started[-1]

    yield start
    for follower in started:
        await follower.stop()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Repeat an action until it gives something true; for what has no event of its own."""

    async def attempt(action: Callable[[], object], timeout: float = 10) -> object:
        deadline = time.monotonic() + timeout
        while True:
            outcome = action()
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
            if outcome:
                return outcome
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.02)

    return attempt
