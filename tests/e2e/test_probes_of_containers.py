"""Real containers are asked by commands, requests and connections; what they answer decides what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from local_cluster import LocalCluster
from manifests import container, pod
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

SERVER = "mkdir /www; touch /www/alive; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & while :; do sleep 0.1; done"


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(podman, namespace(podman))


def quick(**settings: Any) -> dict[str, Any]:
    return {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5, **settings}


def condition(space: Space, name: str, kind: str) -> dict[str, Any]:
    return next(each for each in space.status(name)["conditions"] if each["type"] == kind)


def test_a_server_is_started_ready_and_alive_as_its_probes_say(space: Space) -> None:
    server = container(
        SERVER,
        ports=[{"name": "http", "containerPort": 8080}],
        startupProbe=quick(tcpSocket={"port": "http"}, failureThreshold=60),
        readinessProbe=quick(httpGet={"port": "http", "path": "/ready"}),
        livenessProbe=quick(exec={"command": ["test", "-e", "/www/alive"]}),
    )
    space.apply(pod("server", server))
    space.wait(lambda: space.container("server")["started"])
    unready = condition(space, "server", "ContainersReady")
    assert (unready["reason"], unready["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [main]",
    )
    space.wait(lambda: "probe failed: HTTP probe failed with statuscode: 404" in space.kubectl("events"))
    space.kubectl("exec", "server", "--", "touch", "/www/ready")
    space.running("server")
    space.kubectl("exec", "server", "--", "rm", "/www/ready")
    space.wait(lambda: condition(space, "server", "Ready")["status"] == "False")
    assert space.container("server")["restartCount"] == 0
    space.kubectl("exec", "server", "--", "rm", "/www/alive")
    space.wait(lambda: space.container("server")["restartCount"] == 1)
    for said in ("Liveness probe failed:", "Container main failed liveness probe, will be restarted"):
        space.wait(lambda said=said: said in space.kubectl("events", "--for=pod/server"))


def test_a_command_that_takes_too_long_is_ended(space: Space) -> None:
    slow = container("trap 'exit 0' TERM; while :; do sleep 0.1; done")
    slow["readinessProbe"] = quick(exec={"command": ["sleep", "1234"]}, timeoutSeconds=1, periodSeconds=300)
    space.apply(pod("slow", slow))
    timed_out = 'Readiness probe failed: command timed out: "sleep 1234" timed out after 1s'
    space.wait(lambda: timed_out in space.kubectl("events", "--for=pod/slow"))
    processes = space.kubectl("exec", "slow", "--", "ps")
    assert "sleep 1234" not in processes
