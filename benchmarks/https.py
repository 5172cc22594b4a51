"""The api over HTTPS: create, get and list, by clients in a process of their own on the same machine."""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop
import yaml

SECONDS = 5.0
ROUNDS = 3
_FILLERS: Final = 16


class Row(msgspec.Struct, frozen=True):
    """One line of the table: requests a second, and latencies in milliseconds."""

    work: str
    connections: int
    rate: float
    p50: float
    p99: float


class Access(msgspec.Struct, frozen=True):
    """Where the api is, and who asks; files are PEM."""

    port: int
    ca: str
    certificate: str
    key: str

    @classmethod
    def of(cls, kubeconfig: Path, folder: Path) -> Access:
        """Return what a kubeconfig with embedded certificates says, written to files in `folder`."""
        config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = {}
        for name, data in (
            ("ca", cluster["certificate-authority-data"]),
            ("certificate", user["client-certificate-data"]),
            ("key", user["client-key-data"]),
        ):
            files[name] = str(folder / f"{name}.pem")
            Path(files[name]).write_bytes(base64.b64decode(data))
        return cls(int(cluster["server"].rpartition(":")[2]), **files)

    def context(self) -> ssl.SSLContext:
        """Return the client's TLS settings."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.certificate, self.key)
        return context


def pod(name: str) -> bytes:
    """Return a pod that no scheduler looks at; stored, it has about 1.6 KB, as the reference's had."""
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    container = {"name": "nginx", "image": "nginx:latest", "resources": resources}
    spec = {"schedulerName": "nobody", "containers": [container]}
    metadata = {"name": name, "labels": {"app": "load", "number": name[:63]}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def config_map(name: str) -> bytes:
    """Return a small ConfigMap."""
    return msgspec.json.encode({"metadata": {"name": name}, "data": {"key": "value"}})


def post(path: str, body: bytes) -> bytes:
    """Return a whole request."""
    return b"POST %s HTTP/1.1\r\nHost: orch\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        len(body),
        body,
    )


def get(path: str) -> bytes:
    """Return a whole request."""
    return b"GET %s HTTP/1.1\r\nHost: orch\r\n\r\n" % path.encode()


class _Connection(asyncio.BufferedProtocol):
    """A connection that asks and waits, and looks at no more of an answer than its length: the server is measured."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self._head = b""
        self._left = -1
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        _ = sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left < 0:
            self._head += self._buffer[:nbytes]
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) - len(body)
        else:
            self._left -= nbytes
        if not self._left and self._answered is not None:
            self._answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("the api closed the connection"))

    async def ask(self, request: bytes) -> None:
        """Send a request, and return when it is answered. Raises RuntimeError for a refusal."""
        self._head, self._left = b"", -1
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._answered
        if self._head[9:11] != b"20":
            raise RuntimeError(self._head.decode())


async def _client(access: Access, work: str, number: int, deadline: float, latencies: list[float]) -> None:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, "127.0.0.1", access.port, ssl=access.context())
    done = 0
    while time.perf_counter() < deadline:
        name = f"b{int(deadline * 1e6)}-{number}-{done}"
        if work == "create pods":
            request = post("/api/v1/namespaces/bench/pods", pod(name))
        elif work == "create configmaps":
            request = post("/api/v1/namespaces/bench/configmaps", config_map(name))
        else:
            request = get(work)
        started = time.perf_counter()
        await connection.ask(request)
        latencies.append(time.perf_counter() - started)
        done += 1
    connection.transport.close()


async def _measure(access: Access, work: str, connections: int, seconds: float) -> Row:
    latencies: list[float] = []
    started = time.perf_counter()
    deadline = started + seconds
    await asyncio.gather(*(_client(access, work, number, deadline, latencies) for number in range(connections)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return Row(
        "",
        connections,
        len(latencies) / elapsed,
        latencies[len(latencies) // 2] * 1000,
        latencies[int(len(latencies) * 0.99)] * 1000,
    )


def in_process(access: Access, work: str, connections: int, seconds: float) -> Row:
    return uvloop.run(_measure(access, work, connections, seconds))


async def _fill(access: Access, namespace: str, pods: int) -> None:
    """Make a namespace with so many pods."""
    context = access.context()
    loop = asyncio.get_running_loop()
    body = msgspec.json.encode({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    async def make(first: int) -> None:
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", access.port, ssl=context)
        if first == 0:
            await connection.ask(post("/api/v1/namespaces", body))
            made.set()
        await made.wait()
        for number in range(first, pods, _FILLERS):
            await connection.ask(post(f"/api/v1/namespaces/{namespace}/pods", pod(f"p{number}")))
        connection.transport.close()

    made = asyncio.Event()
    await asyncio.gather(*map(make, range(_FILLERS)))


def fill(access: Access, namespace: str, pods: int) -> None:
    """Make a namespace with so many pods."""
    uvloop.run(_fill(access, namespace, pods))


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Return the body of an answer. Raises RuntimeError for a refusal; that something exists already is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    if head[9:11] != b"20" and b"AlreadyExists" not in body:
        raise RuntimeError(body.decode())
    return body


_LIST = "/api/v1/namespaces/list/pods"
_WORKS = (
    ("POST pods", "create pods", 64),
    ("POST pods", "create pods", 16),
    ("POST pods", "create pods", 1),
    ("POST configmaps", "create configmaps", 16),
    ("GET one namespace", "/api/v1/namespaces/bench", 16),
    ("LIST 500 pods", _LIST, 4),
    ("LIST by label, 1 of 500", f"{_LIST}?labelSelector=number=p7", 4),
)
_FULL = (
    ("LIST 12,000 pods", "/api/v1/namespaces/full/pods", 4),
    ("LIST by label, 1 of 500", f"{_LIST}?labelSelector=number=p7", 4),
    ("POST pods", "create pods", 16),
)


def measure(kubeconfig: Path, *, full: bool = False) -> list[Row]:
    """Measure a running cluster's api; each row is the median of some rounds, for the machine may be noisy.

    `full`: after 12,000 further pods were made.
    """
    with tempfile.TemporaryDirectory() as folder:
        access = Access.of(kubeconfig, Path(folder))
        if full:
            fill(access, "full", 12_000)
        else:
            fill(access, "bench", 0)
            fill(access, "list", 500)
        spawn = multiprocessing.get_context("spawn")
        rows: list[Row] = []
        with spawn.Pool(1) as pool:
            for name, work, connections in _FULL if full else _WORKS:
                rounds = [pool.apply(in_process, (access, work, connections, SECONDS)) for _ in range(ROUNDS)]
                median = sorted(rounds, key=lambda row: row.rate)[ROUNDS // 2]
                rows.append(msgspec.structs.replace(median, work=name))
    return rows


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"{'work':<22} {'connections':>11} {'a second':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for row in rows:
        print(f"{row.work:<22} {row.connections:>11} {row.rate:>10,.0f} {row.p50:>8.1f} {row.p99:>8.1f}")
