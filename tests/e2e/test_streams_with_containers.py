"""kubectl's cp, attach, debug, port-forward and proxy with real containers, over WebSocket and over SPDY."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster import BIN, LocalCluster
from manifests import BUSYBOX, NGINX, pod
from space import Space
from terminals import terminal

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

WIRES = {
    "websocket": {},
    "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"},
}


@pytest.fixture(scope="module")
def space(podman: LocalCluster) -> Iterator[Space]:
    """A namespace with one pod that serves pages, and one that does so in its node's own network."""
    podman.kubectl("create", "namespace", "reach")
    made = Space(podman, "reach")
    host = "mkdir /w; echo from the node >/w/index.html; trap 'exit 0' TERM; httpd -f -p 8097 -h /w & wait"
    made.apply(
        pod("web", {"name": "main", "image": NGINX, "ports": [{"containerPort": 80}]}),
        pod("host", {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", host]}, hostNetwork=True),
    )
    made.running("web", "host")
    yield made
    podman.kubectl("delete", "namespace", "reach", "--wait=false")


@pytest.fixture(params=list(WIRES))
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    return WIRES[request.param]


def test_files_are_copied_both_ways(space: Space, environ: dict[str, str], tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(content)
    space.kubectl("cp", str(tmp_path / "there"), "web:/tmp/copied", environ=environ)
    space.kubectl("cp", "web:/tmp/copied", str(tmp_path / "back"), environ=environ)
    assert (tmp_path / "back").read_bytes() == content


def test_what_is_run_is_talked_to(space: Space, environ: dict[str, str]) -> None:
    name = f"talk-{len(environ)}"
    script = "read a; read b; echo got $a $b; exit 4"
    run = ("run", name, f"--image={BUSYBOX}", "-i", "--restart=Never", "--", "sh", "-c", script)
    done = subprocess.run(
        [BIN / "kubectl", "-n", space.name, *run],
        input=b"one\ntwo\n",
        capture_output=True,
        timeout=60,
        env={**os.environ, **space.cluster.environ, **environ},
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, b"got one two\n"), done.stderr


def test_a_terminal_is_attached_to(space: Space, environ: dict[str, str]) -> None:
    name = f"term-{len(environ)}"
    run = ("run", name, "-it", f"--image={BUSYBOX}", "--restart=Never", "--", "sh")
    with terminal(space, *run, environ=environ) as (screen, process):
        screen.read_until(b"press")  # "If you don't see a command prompt, try pressing enter."
        screen.type(b"\n")
        screen.read_until(b"# ")
        # kubectl begins with a larger size, so that whatever runs there draws anew.
        screen.type(b"tty; until stty size | grep '^40 1'; do sleep 0.1; done\n")
        screen.read_until(b"/dev/pts/")
        screen.read_until(b"40 100")
        screen.type(b"exit 5\n")
        assert process.wait(timeout=30) == 5


def test_a_running_pod_is_looked_into(space: Space, environ: dict[str, str]) -> None:
    name = f"look-{len(environ)}"
    debug = ("debug", "web", "-it", f"--image={BUSYBOX}", "--target=main", f"--container={name}", "--", "sh")
    with terminal(space, *debug, environ=environ) as (screen, process):
        screen.type(b"\n")
        screen.read_until(b"# ")
        # The pod's network and the target's processes are those of the container that is looked at.
        screen.type(b"wget -q -O - localhost; tr '\\0' ' ' </proc/1/cmdline; echo; echo do''ne\n")
        screen.read_until(b"Welcome to nginx!")
        screen.read_until(b"nginx: master process")
        screen.read_until(b"done")
        screen.type(b"exit 6\n")
        process.wait(timeout=30)
    ended = space.wait(lambda: state_of(space, name).get("terminated"))
    assert ended["exitCode"] == 6
    assert space.container("web")["restartCount"] == 0
    assert "Welcome to nginx!" in space.kubectl("logs", "web", "-c", name)


def state_of(space: Space, name: str) -> dict[str, dict[str, object]]:
    statuses = space.status("web")["ephemeralContainerStatuses"]
    return next(each["state"] for each in statuses if each["name"] == name)


@pytest.mark.parametrize(
    ("target", "port", "page"), [("web", 80, "Welcome to nginx!"), ("host", 8097, "from the node")]
)
def test_ports_and_proxies_lead_into_the_pods_network(
    space: Space, environ: dict[str, str], target: str, port: int, page: str
) -> None:
    argv = [BIN / "kubectl", "-n", space.name, "port-forward", f"pod/{target}", f":{port}"]
    environment = {**os.environ, **space.cluster.environ, **environ}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ->", told)
            assert found, told
            for _ in range(3):
                with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=10) as answer:
                    assert page in answer.read().decode()
        finally:
            process.kill()
    assert page in space.kubectl("get", "--raw", f"/api/v1/namespaces/{space.name}/pods/{target}:{port}/proxy/")
    refused = space.kubectl("get", "--raw", f"/api/v1/namespaces/{space.name}/pods/{target}:9/proxy/", check=False)
    assert re.search(r"error trying to reach service: dial tcp [\d.]+:9: connect: connection refused", refused)
