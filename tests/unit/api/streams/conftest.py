"""An api in memory whose one node is played by the test; called as a server calls it, or served over TCP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from asgi import Connection
from spdy_client import SpdyClient

from orch.bus.streams import serve_streams
from orch.bus.subjects import node_rpc_subject
from orch.objects.scheme import PODS
from orch_api.config import ApiConfig
from orch_api.http.connections import look_after
from orch_api.http.server import listen, server
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application
from orch_pb.v1.rpc_pb2 import Binding

POD = "/api/v1/namespaces/default/pods/p"
TOKEN = "secret"
Serve = Callable[..., Awaitable[None]]


@pytest.fixture
def config(tmp_path: Path) -> ApiConfig:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(f'{TOKEN},orch:admin,1,"system:masters"\nweak,nobody,2\n')
    return ApiConfig(token_file=str(tokens))


@pytest.fixture
async def api(config: ApiConfig) -> AsyncIterator[InMemoryApi]:
    async with in_memory_api(config=config) as api:
        yield api


@pytest.fixture
def app(api: InMemoryApi, config: ApiConfig) -> Any:
    return application(api.core, config)


@pytest.fixture
def http(app: Any) -> Connection:
    """The administrator's connection."""
    return Connection(app)


@pytest.fixture
async def pod(api: InMemoryApi) -> Any:
    """A running pod with two containers on node n, ready, with an address."""
    containers = [{"name": "a", "image": "i", "ports": [{"containerPort": 8080}]}, {"name": "b", "image": "i"}]
    metadata = {"name": "p", "labels": {"app": "p"}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
    client = api.client()
    created = await client.create(PODS, "default", body)
    await client.bind([Binding(namespace="default", name="p", uid=created.metadata.uid, node="n")])
    running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    statuses = [
        {"name": name, "state": running, "ready": True, "restartCount": 0, "image": "i", "imageID": ""}
        for name in ("a", "b")
    ]
    status = {
        "phase": "Running",
        "podIP": "10.1.0.2",
        "podIPs": [{"ip": "10.1.0.2"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": statuses,
    }
    return await client.patch(PODS, "default", "p", {"status": status}, subresource="status")


@pytest.fixture
async def node(api: InMemoryApi) -> AsyncIterator[Serve]:
    """Serve a node's streams: the handlers are set by the test."""
    bus = api.bus("system:node:n")
    async with contextlib.AsyncExitStack() as stack:

        async def serve(verb: str, handler: Any, check: Any = None) -> None:
            subscription = await serve_streams(bus, node_rpc_subject("n", verb), handler, check=check)
            stack.push_async_callback(subscription.stop)

        yield serve


class Wire:
    """A client's connection to the server, after the answer's head."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    async def ask(self, head: str, body: bytes = b"") -> None:
        """Send a request; read the head of the answer."""
        self.writer.write(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        async with asyncio.timeout(10):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(": ") for line in lines)
        self.headers = [(name.lower(), value) for name, _, value in pairs]

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name), "")

    async def body(self) -> bytes:
        """Return the body of an answer of known length."""
        async with asyncio.timeout(10):
            return await self.reader.readexactly(int(self.header("content-length")))

    async def read(self) -> bytes:
        try:
            return await self.reader.read(65536)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Served:
    """The application behind the real server, on a port of its own."""

    def __init__(self, port: int, connections: Collection[Any], stack: contextlib.AsyncExitStack) -> None:
        self.port = port
        self._connections = connections
        self._stack = stack

    def waiting(self) -> list[int]:
        """Return what waits to be written, a number for each connection."""
        return [each.transport.get_write_buffer_size() for each in self._connections]

    def later(self, seconds: float) -> None:
        """Let the server look after its connections as if so much time had passed."""
        look_after(self._connections, asyncio.get_running_loop().time() + seconds)

    async def connect(self, limit: int = 1 << 16) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)

        async def close() -> None:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        self._stack.push_async_callback(close)
        return Wire(reader, writer)

    async def upgrade(self, url: str, *protocols: str, method: str = "POST", token: str = TOKEN) -> Wire:
        """Ask for SPDY; the answer may be a refusal."""
        versions = "".join(f"X-Stream-Protocol-Version: {protocol}\n" for protocol in protocols)
        wire = await self.connect()
        await wire.ask(
            f"{method} {url} HTTP/1.1\nHost: api\nAuthorization: Bearer {token}\nContent-Length: 0\n"
            f"Connection: Upgrade\nUpgrade: SPDY/3.1\n{versions}"
        )
        return wire

    async def spdy(self, url: str, *protocols: str) -> SpdyClient:
        """Return a client whose connection was upgraded."""
        wire = await self.upgrade(url, *protocols)
        assert wire.status == 101, await wire.read()
        client = SpdyClient(wire.write, wire.read)
        self._stack.push_async_callback(client.close)
        return client


@pytest.fixture
async def served(app: Any) -> AsyncIterator[Served]:
    listener = listen("127.0.0.1", 0)
    site = server(app, certificate="", key="", client_ca="")
    serving = asyncio.ensure_future(site.serve(sockets=[listener]))
    async with contextlib.AsyncExitStack() as stack:
        yield Served(listener.getsockname()[1], site.server_state.connections, stack)
    site.should_exit = True
    await serving


@pytest.fixture
def eventually() -> Any:
    async def wait(condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)

    return wait
