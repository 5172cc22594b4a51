"""The nodes' one way out, for pulling images, on a real cluster's fabric."""

from __future__ import annotations

import contextlib
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orch_cli.network import FABRIC_ADDRESS, FABRIC_RANGE, NAMESPACES, fabric_namespace
from orch_cli.state import load_state

pytestmark = pytest.mark.podman

PORT = 3129
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as near:
    near.sendall(b"CONNECT 127.0.0.1:" + sys.argv[3].encode() + b" HTTP/1.1\\r\\n\\r\\n")
    near.shutdown(socket.SHUT_WR)
    while piece := near.recv(65536):
        print(piece.decode(), end="")
"""


class Greeter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello from the host's loopback")


@contextlib.contextmanager
def host_server() -> Iterator[int]:
    with socketserver.TCPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def doorway(cluster: Any) -> Iterator[None]:
    state = load_state(cluster.layout)
    assert state is not None
    namespace = NAMESPACES / fabric_namespace(state.cluster)
    listen = ("--namespace", str(namespace), "--listen", f"{FABRIC_ADDRESS}:{PORT}")
    process = subprocess.Popen([sys.executable, "-m", "orch_cli.doorway", *listen, "--clients", str(FABRIC_RANGE)])
    try:
        listening = ("nsenter", f"--net={namespace}", "ss", "-Hltn", f"sport = :{PORT}")
        deadline = time.monotonic() + 20
        while not subprocess.run(listening, capture_output=True, check=True).stdout:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_a_node_gets_out_and_a_pod_does_not(podman: Any, namespace: Callable[[Any], str]) -> None:
    space = namespace(podman)
    with host_server() as port, doorway(podman):
        answer = podman.in_node("node-1", sys.executable, "-c", ASK, FABRIC_ADDRESS, str(PORT), str(port))
        assert answer.splitlines()[0] == "HTTP/1.1 200 Connection established"
        assert "hello from the host's loopback" in answer

        ask = f"printf 'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n' | nc -w 5 {FABRIC_ADDRESS} {PORT}"
        podman.kubectl("-n", space, "run", "pod", "--image=busybox", "--restart=Never", "--", "sh", "-c", ask)
        # The fabric has no way back to pods: theirs is not even refused, it is never connected.
        podman.wait(
            lambda: podman.get("-n", space, "pod", "pod")["status"]["phase"] == "Failed", what="the pod gave up"
        )
        assert "HTTP" not in podman.kubectl("-n", space, "logs", "pod")
