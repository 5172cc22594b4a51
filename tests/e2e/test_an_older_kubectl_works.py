"""The kubectl that Debian has: years older than the cluster, with OpenAPI v2 in protobuf, plain discovery and SPDY."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster, run

_MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "web:1", ports: [{containerPort: 80}]}]}
"""


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


@pytest.fixture
def kubectl(simulated: LocalCluster, space: str, client_programs: Path, tmp_path: Path) -> Callable[..., str]:
    # It keeps what it learns of a cluster in the home directory.
    environ = {**simulated.environ, "HOME": str(tmp_path)}

    def kubectl(*arguments: str, **options: Any) -> str:
        return run(client_programs / "kubectl-debian", "-n", space, *arguments, environ=environ, **options)

    return kubectl


@pytest.fixture
def web(kubectl: Callable[..., str]) -> str:
    """A Deployment that runs; returns the name of one of its pods."""
    kubectl("apply", "-f", "-", stdin=_MANIFEST)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    return kubectl("get", "pods", "-o", "name").split()[0]


@pytest.mark.usefixtures("web")
def test_workloads_are_shown_and_changed(kubectl: Callable[..., str]) -> None:
    assert re.search(r"^web +2/2 +2 +2 ", kubectl("get", "deployments"), re.MULTILINE)
    assert "NewReplicaSet:" in kubectl("describe", "deployment", "web")
    assert "rollingUpdate" in kubectl("explain", "deployment.spec.strategy")
    kubectl("scale", "deployment", "web", "--replicas=3")
    kubectl("set", "image", "deployment/web", "main=web:2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={..image}") == "web:1"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_MANIFEST)
    kubectl("autoscale", "deployment", "web", "--max=5")
    assert "Deployment/web" in kubectl("get", "hpa")
    kubectl("expose", "deployment", "web", "--port=80")
    kubectl("delete", "deployment,service,hpa", "--all")


def test_mistakes_are_named_by_the_clients_own_schema(kubectl: Callable[..., str]) -> None:
    said = kubectl("apply", "-f", "-", stdin=_MANIFEST.replace("replicas", "replica"), check=False)
    assert 'unknown field "replica"' in said


def test_commands_run_over_spdy(kubectl: Callable[..., str], web: str) -> None:
    assert kubectl("exec", web, "--", "echo", "hello").endswith("hello\n")
    assert kubectl("exec", "-i", web, "--", "cat", stdin="to and fro") == "to and fro"
    failed = kubectl("exec", web, "--", "no-such-program", check=False)
    assert "command terminated with exit code 127" in failed
    assert "main started" in kubectl("logs", web)


def test_ports_are_forwarded_over_spdy(
    simulated: LocalCluster, space: str, client_programs: Path, web: str, tmp_path: Path
) -> None:
    argv = (str(client_programs / "kubectl-debian"), "-n", space, "port-forward", web, ":80")
    environ = {**os.environ, **simulated.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environ) as forwarding:
        try:
            assert forwarding.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+) -> 80", forwarding.stdout.readline())
            assert found is not None
            for _ in range(3):
                with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=10) as answer:
                    assert answer.status == 200
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10):
                pass  # a client that leaves at once harms nobody
        finally:
            forwarding.terminate()
            forwarding.communicate(timeout=10)
