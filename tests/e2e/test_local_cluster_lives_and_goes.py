"""`orch up`, `status` and `down` on simulated nodes."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orch_cli.process import read_pid, start_ticks

Make = Callable[..., Any]
PROCESSES = ["etcd", "nats", "api", "scheduler", "controllers", "agent"]

CONFIGMAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"key": "value"}}


def test_a_cluster_comes_up_resumes_and_goes(clusters: Make) -> None:
    cluster = clusters(nodes=2, runtime="simulated")
    said = cluster.up()
    assert "2 nodes are Ready" in said
    assert f"export KUBECONFIG={cluster.layout.kubeconfig}" in said
    assert cluster.report.phase == "ready"
    assert [each.name for each in cluster.report.processes] == PROCESSES
    assert {node["metadata"]["name"] for node in cluster.get("nodes")} == {"node-1", "node-2"}
    cluster.apply(CONFIGMAP)
    uid = cluster.get("configmap", "kept")["metadata"]["uid"]
    pids = [each.pid for each in cluster.report.processes]

    assert "its state is in" in cluster.down()
    assert not any(pid.alive() for pid in pids)
    assert list(cluster.layout.pids.iterdir()) == []
    assert "is down" in cluster.orch("status", check=False)

    # What is not said again is remembered.
    cluster.orch("up", "--detach", timeout=100)
    assert cluster.get("configmap", "kept")["metadata"]["uid"] == uid
    assert len(cluster.get("nodes")) == 2

    assert "nothing is left" in cluster.down("--purge")
    assert not cluster.state.exists()


def test_what_dies_is_restarted_and_the_cluster_goes_on(clusters: Make) -> None:
    cluster = clusters(nodes=1, runtime="simulated")
    cluster.up()
    for name in PROCESSES:
        killed = cluster.kill(name)
        cluster.wait(lambda name=name, killed=killed: cluster.restarted(name, killed), what=f"{name} restarted")
        cluster.wait(lambda: "ok" in cluster.kubectl("get", "--raw", "/readyz", check=False), what="/readyz")
    status = cluster.orch("status")
    assert status.count("killed by SIGKILL") == len(PROCESSES)
    cluster.apply(CONFIGMAP)


def test_a_killed_supervisor_leaves_a_cluster_that_can_be_resumed_and_removed(clusters: Make) -> None:
    cluster = clusters(nodes=1, runtime="simulated")
    cluster.up()
    cluster.apply(CONFIGMAP)
    killed = cluster.report.pid
    kill(killed.pid)
    cluster.wait(lambda: not killed.alive())
    cluster.up()
    assert cluster.report.pid != killed
    assert cluster.get("configmap", "kept")["data"] == {"key": "value"}
    pids = [each.pid for each in cluster.report.processes]
    kill(cluster.report.pid.pid)
    cluster.down()
    assert not any(pid.alive() for pid in pids)


def test_a_process_that_outlived_its_supervisor_is_ended_by_down(clusters: Make) -> None:
    cluster = clusters(nodes=1, runtime="simulated")
    left = subprocess.Popen(["sleep", "600"])
    try:
        cluster.layout.pids.mkdir(parents=True)
        (cluster.layout.pids / "api.pid").write_text(f'{{"pid":{left.pid},"started":{start_ticks(left.pid)}}}')
        (cluster.layout.pids / "etcd.pid").write_text('{"pid":1,"started":1}')
        cluster.down()
        assert left.wait(timeout=5) == -signal.SIGTERM
        assert read_pid(cluster.layout.pids / "etcd.pid") is None
    finally:
        left.kill()
        left.wait()


def test_a_second_supervisor_is_refused(simulated: Any) -> None:
    said = simulated.orch("up", "--detach", check=False)
    assert f"the cluster in {simulated.state} is already up" in said
    assert simulated.report.phase == "ready"


def test_a_port_that_is_in_use_is_named(clusters: Make) -> None:
    cluster = clusters(nodes=1, runtime="simulated")
    with socket.create_server(("127.0.0.1", cluster.port)):
        said = cluster.orch("up", "--port", str(cluster.port), "--runtime", "simulated", "--detach", check=False)
    assert f"--port: {cluster.port} is in use; choose another" in said


@pytest.mark.parametrize("argument", [("--nodes", "0"), ("--nodes", "many"), ("--port", "0"), ("--port", "65536")])
def test_arguments_that_make_no_sense_are_refused(clusters: Make, argument: tuple[str, str]) -> None:
    cluster = clusters(nodes=1, runtime="simulated")
    assert argument[0] in cluster.orch("up", "--runtime", "simulated", *argument, check=False)
    assert not cluster.layout.state_file.exists()


def test_without_podman_the_simulated_runtime_is_offered(clusters: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = clusters(nodes=1, runtime="podman")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    said = cluster.orch("up", "--port", str(cluster.port), check=False)
    assert "podman" in said
    assert "orch up --runtime simulated" in said


def test_the_foreground_ends_with_an_interrupt(clusters: Make) -> None:
    cluster = clusters(nodes=1, runtime="simulated")
    command = [Path(sys.executable).parent / "orch", "up", "--state", cluster.state, "--port", str(cluster.port)]
    with subprocess.Popen(
        [*command, "--runtime", "simulated", "--nodes", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ready" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 0
    assert rest.index("stopped agent") < rest.index("stopped scheduler") < rest.index("stopped api")
    assert rest.index("stopped api") < rest.index("stopped etcd, nats")


def test_keys_and_kubeconfig_are_the_owners_alone(simulated: Any) -> None:
    assert stat.S_IMODE(simulated.state.stat().st_mode) == 0o700
    for path in (simulated.layout.kubeconfig, *simulated.layout.pki.rglob("*.key"), *simulated.layout.config.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    config = yaml.safe_load(simulated.layout.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == f"https://127.0.0.1:{simulated.port}"
    assert "client-key-data" in config["users"][0]["user"]


def test_nothing_listens_beyond_loopback(simulated: Any) -> None:
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = {str(each.pid.pid) for each in simulated.report.processes}
    addresses = [line.split()[3] for line in listening if any(f"pid={pid}," in line for pid in ours)]
    assert len(addresses) >= 4
    assert all(address.startswith("127.0.0.1:") for address in addresses), addresses


def kill(pid: int) -> None:
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    deadline = time.monotonic() + 5
    while start_ticks(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
