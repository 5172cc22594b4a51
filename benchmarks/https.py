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
from typing import Any

import msgspec
import uvloop
import yaml

SECONDS = 5.0
ROUNDS = 3


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
    """Return a pod that no scheduler looks at, of the size that a Deployment's have."""
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    container = {"name": "nginx", "image": "nginx:latest", "resources": resources}
    spec = {"schedulerName": "nobody", "containers": [container]}
    metadata = {"name": name, "labels": {"app": "load"}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


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


async def _client(access: Access, work: str, number: int, deadline: float, latencies: list[float]) -> None:
    context = access.context()
    reader, writer = await asyncio.open_connection("127.0.0.1", access.port, ssl=context, limit=1 << 25)
    done = 0
    while time.perf_counter() < deadline:
        if work == "create":
            name = f"b{int(deadline * 1e6)}-{number}-{done}"
            request = post("/api/v1/namespaces/bench/pods", pod(name))
        else:
            request = get(work)
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if head[9:11] != b"20":
            raise RuntimeError(f"{work}: {head.splitlines()[0].decode()}")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
        done += 1
    writer.close()


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


def _in_process(access: Access, work: str, connections: int, seconds: float) -> Row:
    return uvloop.run(_measure(access, work, connections, seconds))


async def _prepare(access: Access) -> None:
    """Make the namespace, and 500 pods for the list."""
    context = access.context()
    reader, writer = await asyncio.open_connection("127.0.0.1", access.port, ssl=context, limit=1 << 25)
    for namespace in ("bench", "list"):
        metadata = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        writer.write(post("/api/v1/namespaces", json.dumps(metadata).encode()))
        await answered(reader)
    for number in range(500):
        writer.write(post("/api/v1/namespaces/list/pods", pod(f"p{number}")))
        await answered(reader)
    writer.close()


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Return the body of an answer. Raises RuntimeError for a refusal; that something exists already is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    if head[9:11] != b"20" and b"AlreadyExists" not in body:
        raise RuntimeError(body.decode())
    return body


def measure(kubeconfig: Path) -> list[Row]:
    """Measure a running cluster's api; each row is the median of some rounds, for the machine may be noisy."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        access = Access.of(kubeconfig, Path(folder))
        uvloop.run(_prepare(access))
        works = (
            ("POST pods", "create", 64),
            ("POST pods", "create", 16),
            ("POST pods", "create", 1),
            ("GET one namespace", "/api/v1/namespaces/bench", 16),
            ("LIST 500 pods", "/api/v1/namespaces/list/pods", 4),
        )
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(1) as pool:
            for name, work, connections in works:
                rounds = [pool.apply(_in_process, (access, work, connections, SECONDS)) for _ in range(ROUNDS)]
                median = sorted(rounds, key=lambda row: row.rate)[ROUNDS // 2]
                rows.append(msgspec.structs.replace(median, work=name))
    return rows


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"{'work':<22} {'connections':>11} {'a second':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for row in rows:
        print(f"{row.work:<22} {row.connections:>11} {row.rate:>10,.0f} {row.p50:>8.1f} {row.p99:>8.1f}")
