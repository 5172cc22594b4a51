"""kubectl's exec, attach, port-forward and proxies, over WebSocket and over SPDY, with simulated pods."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from local_cluster import BIN, LocalCluster
from manifests import pod
from space import Space

WIRES = {
    "websocket": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"},
    "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"},
}
NAMESPACE = "streams"
MIB = int(os.environ.get("ORCH_STREAM_MIB", "32"))
"""How much goes through forwarded ports, and as much again through a command; `make streams` takes a GiB."""
BLOCK = 1 << 16
MOST_GROWTH = 48
"""MiB by which a process may grow over any amount: windows of streams, and what Python keeps for later."""


class Wire:
    """kubectl over one of the two wires, in a namespace of its own."""

    def __init__(self, space: Space, name: str) -> None:
        self.space = space
        self.name = name
        self._environ = {**os.environ, **space.cluster.environ, **WIRES[name]}

    def run(self, *arguments: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = (BIN / "kubectl", "-n", self.space.name, *arguments)
        return subprocess.run(argv, input=feed, capture_output=True, timeout=60, env=self._environ, check=False)

    def copy(self, source: Path, target: Path, *arguments: str) -> int:
        """Run kubectl from a file into a file; return its exit code."""
        argv = (BIN / "kubectl", "-n", self.space.name, *arguments)
        with source.open("rb") as feed, target.open("wb") as taken:
            return subprocess.run(
                argv, stdin=feed, stdout=taken, timeout=30 + MIB, env=self._environ, check=False
            ).returncode

    @contextmanager
    def forwarding(self, *arguments: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        """Forward a port; yield the local one."""
        argv = (BIN / "kubectl", "-n", self.space.name, "port-forward", *arguments)
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environ
        ) as process:
            try:
                assert process.stdout is not None
                told = process.stdout.readline()
                found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ->", told)
                assert found, told + process.stdout.read()
                yield int(found[1]), process
            finally:
                process.kill()

    def accepted(self, subresource: str) -> bool:
        """Say whether the api accepted a WebSocket: kubectl falls back to SPDY without a word."""
        log = (self.space.cluster.layout.logs / "api.log").read_text()
        found = re.search(
            rf'"WebSocket /api/v1/namespaces/{self.space.name}/pods/[^"]+/{subresource}[?"].*accepted', log
        )
        return found is not None


@pytest.fixture(scope="module", params=list(WIRES))
def wire(simulated: LocalCluster, request: pytest.FixtureRequest) -> Iterator[Wire]:
    name = f"{NAMESPACE}-{request.param}"
    simulated.kubectl("create", "namespace", name)
    space = Space(simulated, name)
    container = {"name": "c", "image": "i", "stdin": True, "ports": [{"name": "http", "containerPort": 8080}]}
    space.apply(pod("web", container))
    space.running("web")
    yield Wire(space, request.param)
    simulated.kubectl("delete", "namespace", name, "--wait=false")


def test_commands(wire: Wire) -> None:
    done = wire.run("exec", "web", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    content = os.urandom(2_000_000)
    assert wire.run("exec", "-i", "web", "--", "cat", feed=content).stdout == content
    done = wire.run("exec", "web", "--", "exit", "17")
    assert (done.returncode, done.stderr) == (17, b"command terminated with exit code 17\n")
    assert wire.run("exec", "web", "--", "true").returncode == 0
    assert wire.accepted("exec") == (wire.name == "websocket")


def test_attaching_to_what_is_run(wire: Wire) -> None:
    done = wire.run("run", "once", "--image=i", "-i", "--restart=Never", feed=b"one\ntwo\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"one\ntwo\n")
    assert wire.space.ended("once", "Succeeded")["exitCode"] == 0
    told = wire.run("attach", "once")
    assert b"cannot attach" in told.stderr
    assert wire.accepted("attach") == (wire.name == "websocket")


def fetch(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def test_a_forwarded_port(wire: Wire) -> None:
    with wire.forwarding("pod/web", ":8080") as (port, process):
        for number in range(5):
            assert fetch(port, f"/{number}").startswith(f"GET /{number} HTTP/1.1")
        assert process.poll() is None
    assert wire.accepted("portforward") == (wire.name == "websocket")


def test_a_port_that_nobody_listens_on(wire: Wire) -> None:
    with wire.forwarding("pod/web", ":40000") as (port, process):
        with pytest.raises((urllib.error.URLError, OSError)):
            fetch(port)
        assert process.stdout is not None
        told = process.stdout.read()
    uid = wire.space.get("pod", "web")["metadata"]["uid"]
    assert f"error forwarding port 40000 to pod {uid}, uid : failed to connect to localhost:40000" in told


def test_requests_through_the_proxy(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> None:
    space = Space(simulated, namespace(simulated))
    container = {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}
    ports = [{"name": "www", "port": 80, "targetPort": "http"}]
    service = {"selector": {"app": "web"}, "ports": ports}
    space.apply(
        pod("web", container), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service}
    )
    space.running("web")
    root = f"/api/v1/namespaces/{space.name}"
    for place in ("pods/web", "pods/web:8080", "services/web:80", "services/web:www", "services/http:web:www"):
        told = space.kubectl("get", "--raw", f"{root}/{place}/proxy/some/path?q=1")
        assert told.startswith("GET /some/path?q=1 HTTP/1.1"), place
    told = space.kubectl("get", "--raw", f"{root}/pods/web:40000/proxy/", check=False)
    assert "error trying to reach service: dial tcp " in told
    told = space.kubectl("get", "--raw", f"{root}/services/web:81/proxy/", check=False)
    assert 'no service port 81 found for service "web"' in told
    node = space.get("pod", "web")["spec"]["nodeName"]
    assert space.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    pods = json.loads(space.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/pods"))["items"]
    assert space.get("pod", "web")["metadata"]["uid"] in {each["metadata"]["uid"] for each in pods}
    summary = json.loads(space.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
    assert "web" in {each["podRef"]["name"] for each in summary["pods"]}


def test_kubectl_proxy_leads_to_pods(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> None:
    space = Space(simulated, namespace(simulated))
    space.apply(pod("web", {"name": "c", "image": "i"}))
    space.running("web")
    process = space.start("proxy", "--port=0")
    try:
        told = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", told)
        assert found, told
        path = f"/api/v1/namespaces/{space.name}/pods/web:80/proxy/x"
        assert fetch(int(found[1]), path).startswith("GET /x HTTP/1.1")
    finally:
        process.kill()
        process.communicate()


def digest_of(seed: int, size: int, take: Callable[[bytes], object]) -> str:
    """Hand out that much which does not repeat itself; return its digest."""
    block, digest = random.Random(seed).randbytes(BLOCK), hashlib.sha256()  # noqa: S311 - it guards nothing
    for number in range(size // BLOCK):
        piece = number.to_bytes(8, "big") + block[8:]
        digest.update(piece)
        take(piece)
    return digest.hexdigest()


def echoed(port: int, seed: int, size: int) -> bool:
    """Send that much through a connection, end that direction, and say whether the same came back to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, ThreadPoolExecutor(1) as pool:

        def send() -> str:
            sent = digest_of(seed, size, connection.sendall)
            connection.shutdown(socket.SHUT_WR)
            return sent

        sending = pool.submit(send)
        received = hashlib.sha256()
        while data := connection.recv(BLOCK):
            received.update(data)
        return received.hexdigest() == sending.result()


def peak(cluster: LocalCluster, process: str) -> int:
    """Return the most memory that a process has had, in MiB."""
    pid = cluster.pid(process)
    assert pid is not None
    status = Path(f"/proc/{pid.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10


@pytest.mark.timeout(120 + MIB)
def test_much_at_once_is_neither_damaged_nor_kept_in_memory(wire: Wire, tmp_path: Path) -> None:
    cluster = wire.space.cluster
    before = {name: peak(cluster, name) for name in ("api", "agent")}
    with wire.forwarding("pod/web", ":9000") as (port, _), ThreadPoolExecutor(8) as pool:
        share = MIB * 1024 * 1024 // 8
        assert all(pool.map(lambda seed: echoed(port, seed, share), range(8)))
    there, back = tmp_path / "there", tmp_path / "back"
    with there.open("wb") as file:
        sent = digest_of(99, MIB * 1024 * 1024, file.write)
    assert wire.copy(there, back, "exec", "-i", "web", "--", "cat") == 0
    with back.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sent
    grown = {name: peak(cluster, name) - was for name, was in before.items()}
    assert all(each <= MOST_GROWTH for each in grown.values()), grown


def test_ends_of_many_commands_are_told_apart(wire: Wire) -> None:
    with ThreadPoolExecutor(6) as pool:
        codes = pool.map(lambda code: wire.run("exec", "web", "--", "exit", str(code)).returncode, range(6))
        assert list(codes) == list(range(6))
