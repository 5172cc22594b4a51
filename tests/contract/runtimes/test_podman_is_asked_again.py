"""A container may end while Podman looks at it: Podman then fails, and is asked again."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from orch.clock import SystemClock
from orch_agent.runtimes.podman.runtime import PodmanRuntime
from orch_agent.runtimes.protocol import ContainerError, Identity, State

_GONE = (500, {"message": "read /proc/25033/cgroup: no such process", "response": 500})
_REMOVED = (500, {"message": "container c1 does not exist in database: no such container", "response": 500})
_BROKEN = (500, {"message": "database disk image is malformed", "response": 500})
_EXITED = (
    200,
    {
        "Id": "c1",
        "Image": "1234",
        "State": {"Status": "exited", "ExitCode": 3},
        "Config": {"Labels": Identity(node="node", namespace="n", pod="p", uid="u", container="c").labels()},
    },
)


@contextmanager
def answering(socket: Path, answers: list[tuple[int, dict[str, Any]]]) -> Generator[list[str]]:
    """Serve `answers` one after another on a socket, the last of them from then on; yield the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            code, document = answers.pop(0) if len(answers) > 1 else answers[0]
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return str(socket)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing."""

    with socketserver.ThreadingUnixStreamServer(str(socket), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
async def podman(tmp_path: Path) -> AsyncGenerator[PodmanRuntime]:
    """The runtime, which asks at `podman.sock`."""
    made = PodmanRuntime(tmp_path / "podman.sock", "node", SystemClock(), cgroup_parent="/orch", log_size_max=1 << 20)
    yield made
    await made.close()


async def test_a_container_that_ended_meanwhile_is_looked_at_again(podman: PodmanRuntime, tmp_path: Path) -> None:
    with answering(tmp_path / "podman.sock", [_GONE, _GONE, _EXITED]) as asked:
        info = await podman.inspect("c1")
    assert info is not None
    assert (info.state, info.exit_code) == (State.EXITED, 3)
    assert len(asked) == 3


async def test_a_container_that_is_removed_meanwhile_is_not_there(podman: PodmanRuntime, tmp_path: Path) -> None:
    with answering(tmp_path / "podman.sock", [_REMOVED]) as asked:
        assert await podman.inspect("c1") is None
    assert len(asked) == 1


async def test_it_is_not_looked_at_for_ever(podman: PodmanRuntime, tmp_path: Path) -> None:
    with answering(tmp_path / "podman.sock", [_GONE]), pytest.raises(ContainerError, match="c1 could not be read"):
        await podman.inspect("c1")


async def test_other_failures_are_told_at_once(podman: PodmanRuntime, tmp_path: Path) -> None:
    with answering(tmp_path / "podman.sock", [_BROKEN]) as asked, pytest.raises(ContainerError, match="malformed"):
        await podman.inspect("c1")
    assert len(asked) == 1
