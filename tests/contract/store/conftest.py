"""Stores to run the contract over: the one in memory and a real etcd of this test session's own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from orch.store.etcd import EtcdStore
from orch.store.memory import MemoryStore
from orch.store.protocol import Event, Store


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class EtcdServer:
    """One etcd process on loopback, which can be killed and started again on the same data and ports."""

    def __init__(self, directory: Path, *tls: str) -> None:
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{_free_port()}"
        peer = f"http://127.0.0.1:{_free_port()}"
        self._log = directory / "etcd.log"
        self._command = [
            "etcd",
            "--name=test",
            f"--data-dir={directory / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
            "--log-level=error",
            "--logger=zap",
            *tls,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        host, port = self.url.rsplit("/", 1)[1].split(":")
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"etcd did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)  # between looks at the port

    def pause(self) -> None:
        """Stop the process where it is: its connections stand, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until every thread stands still

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd that tests share; each keeps to keys of its own."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_etcd(tmp_path: Path) -> Iterator[Callable[..., EtcdServer]]:
    """Starts servers that the test may kill."""
    servers: list[EtcdServer] = []

    def start(*tls: str) -> EtcdServer:
        directory = tmp_path / f"etcd-{len(servers)}"
        directory.mkdir()
        server = EtcdServer(directory, *tls)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        opened: Store = MemoryStore()
    else:
        opened = await EtcdStore.connect(endpoints=[request.getfixturevalue("shared_etcd").url])
    yield opened
    await opened.close()


_numbers = itertools.count()


@pytest.fixture
def prefix() -> bytes:
    """A prefix for this test's own keys."""
    return f"/orch/objects/core/pods/test-{next(_numbers)}/".encode()


@pytest.fixture
def collect() -> Callable[..., Awaitable[list[Event]]]:
    """Returns the first `count` events of a watch."""

    async def collect(store: Store, prefix: bytes, revision: int, count: int) -> list[Event]:
        events: list[Event] = []
        watch: AsyncGenerator = store.watch(prefix, prefix[:-1] + b"0", revision=revision)
        async with asyncio.timeout(20), contextlib.aclosing(watch):
            if count == 0:
                return events
            async for batch in watch:
                events += batch.events
                if len(events) >= count:
                    break
        return events

    return collect
