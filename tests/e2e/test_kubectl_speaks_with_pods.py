"""What goes through a node to a container: logs, exec, attach, run -i, debug, forwarded ports and the proxies."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest
from local_cluster import LocalCluster
from space import Space

_STAMPED = re.compile(r"\[pod/two/(a|b)\] \d{4}-\d\d-\d\dT[\d:]+\.\d+Z (a|b) started")


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    """A namespace with a Deployment behind a service, a pod of two containers of which b reads, and one that fails."""
    simulated.kubectl("create", "namespace", "speaks")
    made = Space(simulated, "speaks")
    made.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2", "--port=80")
    made.kubectl("expose", "deployment", "web", "--port=8080", "--target-port=80")
    containers = [{"name": "a", "image": "a", "env": [{"name": "A", "value": "1"}]}, {"name": "b", "image": "b"}]
    containers[1] |= {"stdin": True}
    overrides = json.dumps({"spec": {"containers": containers}})
    made.kubectl("run", "two", "--image=a", f"--overrides={overrides}")
    fails = ("--env=SIMULATED_RUN_SECONDS=0.5", "--env=SIMULATED_EXIT_CODE=3")
    made.kubectl("run", "fails", "--image=a", *fails)
    made.running("two")
    made.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    yield made
    simulated.kubectl("delete", "namespace", "speaks", "--wait=false")


def test_logs(space: Space) -> None:
    def logs(*options: str, check: bool = True) -> str:
        return space.kubectl("logs", *options, check=check)

    assert logs("two") == 'Defaulted container "a" out of: a, b\na started\n'
    assert sorted(logs("two", "--all-containers").splitlines()) == ["a started", "b started"]
    told = logs("two", "--all-containers", "--prefix", "--timestamps").splitlines()
    assert len(told) == 2
    assert all(_STAMPED.fullmatch(line) for line in told), told
    assert len(set(logs("-l", "app=web", "--tail=1", "--prefix").splitlines())) == 2
    assert "Found 2 pods, using pod/web-" in logs("deployment/web")
    assert logs("deployment/web", "--all-pods").count("web started") == 2
    assert logs("two", "-c", "b", "--since=1h", "--limit-bytes=3") == "b s"
    assert logs("two", "-c", "b", "--since-time=2036-01-01T00:00:00Z") == ""
    assert "container none is not valid for pod two out of: a, b" in logs("two", "-c", "none", check=False)
    assert 'pods "none" not found' in logs("none", check=False)
    refused = logs("two", "-c", "b", "--previous", check=False)
    assert refused == ('Error from server (BadRequest): previous terminated container "b" in pod "two" not found\n')


def test_logs_of_a_container_that_failed(space: Space) -> None:
    # Following ends with the container.
    assert "fails started" in space.kubectl("logs", "-f", "fails")
    space.wait(lambda: space.container("fails")["restartCount"] > 0, what="the container is started again")
    assert space.kubectl("logs", "fails", "--previous") == "fails started\n"
    last = space.container("fails")["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")


def test_commands(space: Space) -> None:
    assert space.kubectl("exec", "two", "-c", "a", "--", "echo", "hi", "there") == "hi there\n"
    assert "A=1" in space.kubectl("exec", "two", "-c", "a", "--", "env").splitlines()
    assert space.kubectl("exec", "-i", "two", "-c", "a", "--", "cat", stdin="to and fro") == "to and fro"
    for target in ("deploy/web", "service/web"):
        assert space.kubectl("exec", target, "--", "echo", "hi") == "hi\n"
    code, said = space.code("exec", "two", "-c", "a", "--", "exit", "3")
    assert (code, said) == (3, "command terminated with exit code 3\n")
    assert space.code("exec", "two", "-c", "a", "--", "none")[0] == 127
    assert "container none is not valid for pod two" in space.kubectl(
        "exec", "two", "-c", "none", "--", "env", check=False
    )
    refused = space.kubectl("exec", "none", "--", "env", check=False)
    assert refused == 'Error from server (NotFound): pods "none" not found\n'


def test_attached(space: Space) -> None:
    following = space.start("logs", "-f", "two", "-c", "b")
    try:
        assert following.stdout.readline() == "b started\n"
        # The end of its input is this container's end, which its policy answers by another start.
        assert space.code("attach", "-i", "two", "-c", "b", stdin="hello\n")[1].endswith("hello\n")
        assert following.stdout.readline() == "hello\n"
    finally:
        following.kill()
        following.communicate()
    space.wait(lambda: space.container("two", index=1)["restartCount"] == 1)
    assert space.kubectl("logs", "two", "-c", "b", "--previous") == "b started\nhello\n"


def test_a_pod_for_the_time_of_a_command(space: Space) -> None:
    _, said = space.code("run", "once", "--image=a", "--restart=Never", "-i", "--rm", "--quiet", stdin="hello\n")
    assert "hello\n" in said
    assert space.kubectl("get", "pod", "once", "--ignore-not-found") == ""
    ended = ("--restart=Never", "--attach", "--rm", "--env=SIMULATED_RUN_SECONDS=1", "--env=SIMULATED_EXIT_CODE=4")
    assert space.code("run", "ended", "--image=a", *ended)[0] == 4


def test_debugging(space: Space) -> None:
    space.kubectl("debug", "two", "--image=tools", "-c", "tools", "--target=a", "--attach=false")
    told = space.code("debug", "two", "--image=tools", "-c", "talks", "-i", stdin="hello\n")[1]
    assert told.endswith("hello\n")
    found = space.get("pod", "two")
    assert [each["name"] for each in found["spec"]["ephemeralContainers"]] == ["tools", "talks"]
    assert found["spec"]["ephemeralContainers"][0]["targetContainerName"] == "a"
    running = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running}"
    space.kubectl("wait", "pod/two", running, "--timeout=30s")
    again = space.kubectl("debug", "two", "--image=tools", "-c", "tools", "--attach=false", check=False)
    assert 'spec.ephemeralContainers: Forbidden: existing ephemeral containers "tools" may not be changed' in again

    copied = ("--copy-to=copy", "--set-image=*=new", "--share-processes", "--attach=false")
    space.kubectl("debug", "two", *copied)
    spec = space.get("pod", "copy")["spec"]
    assert ({each["image"] for each in spec["containers"]}, spec["shareProcessNamespace"]) == ({"new"}, True)
    told = space.code("debug", "node/node-1", "--image=tools", "--profile=sysadmin", "-i", stdin="hello\n")[1]
    assert told.endswith("hello\n")
    (on_node,) = space.get("pods", "-l", "app.kubernetes.io/managed-by=kubectl-debug")
    assert (on_node["spec"]["nodeName"], on_node["spec"]["hostNetwork"]) == ("node-1", True)


@contextmanager
def serving(space: Space, pattern: str, *command: str) -> Iterator[str]:
    """Run kubectl as a server meanwhile; yield where it is, as `pattern` finds it in its first line."""
    process = space.start(*command)
    try:
        line = process.stdout.readline()
        found = re.search(pattern, line)
        assert found is not None, line
        yield f"http://{found[1]}"
    finally:
        process.kill()
        process.communicate()


def fetch(address: str) -> str:
    with opened(address) as answer:
        return answer.read().decode()


def opened(address: str) -> HTTPResponse:
    assert address.startswith("http://127.0.0.1:")
    return urllib.request.urlopen(address, timeout=10)  # noqa: S310 - it is checked above


@pytest.mark.parametrize("target", ["service/web :8080", "deployment/web :80", "pod/two :80"])
def test_ports_are_forwarded(space: Space, target: str) -> None:
    with serving(space, r"Forwarding from (127\.0\.0\.1:\d+) -> 80", "port-forward", *target.split()) as address:
        for path in ("/one", "/two"):
            assert fetch(address + path).startswith(f"GET {path} HTTP/1.1")


def test_ports_that_are_none(space: Space) -> None:
    refused = space.kubectl("port-forward", "service/web", ":9999", check=False)
    assert refused == "error: Service web does not have a service port 9999\n"
    refused = space.kubectl("port-forward", "pod/none", ":80", check=False)
    assert refused == 'Error from server (NotFound): pods "none" not found\n'


def test_the_proxy_of_the_api(space: Space, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("a page")
    files = ("--www", str(tmp_path), "--www-prefix=/files/")
    with serving(space, r"Starting to serve on (127\.0\.0\.1:\d+)", "proxy", "--port=0", *files) as address:
        here = f"{address}/api/v1/namespaces/speaks"
        assert json.loads(fetch(f"{here}/services/web"))["kind"] == "Service"
        assert fetch(f"{here}/services/web:8080/proxy/a/b?c=d").startswith("GET /a/b?c=d HTTP/1.1")
        assert fetch(f"{here}/pods/two:80/proxy/").startswith("GET / HTTP/1.1")
        with opened(f"{here}/pods?watch=1&timeoutSeconds=5") as watch:
            assert json.loads(watch.readline())["type"] == "ADDED"
        assert fetch(f"{address}/files/page") == "a page"
        # What would let a page in a browser run commands is refused by kubectl itself.
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(f"{here}/pods/two/exec")


def test_the_proxy_on_a_socket(space: Space, tmp_path: Path) -> None:
    path = str(tmp_path / "kubectl.sock")
    proxy = serving(space, "Starting to serve on (.+)", "proxy", f"--unix-socket={path}")
    with proxy, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["versions"] == ["v1"]
