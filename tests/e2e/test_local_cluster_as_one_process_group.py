"""`orch-controller --config=FILE`: the specification's way to run api, scheduler and controllers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from orch_cli.kubeconfig import write_kubeconfig
from orch_cli.pki import Authority, KeyPair, Leaf
from orch_cli.state import free_ports

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).parents[2] / "config/controller.yaml"


@contextlib.contextmanager
def process(*argv: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        started = subprocess.Popen([str(part) for part in argv], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(timeout=40)


def eventually(condition: Callable[[], bool], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def children(pid: int) -> dict[str, int]:
    listed = subprocess.run(
        ["ps", "-ww", "--ppid", str(pid), "-o", "pid=,args="], capture_output=True, text=True, check=False
    )
    lines = [line.split() for line in listed.stdout.splitlines()]
    return {name: int(words[0]) for words in lines for name in map(os.path.basename, words) if name.startswith("orch-")}


@pytest.mark.timeout(180)
def test_the_group_runs_from_the_specifications_file(tmp_path: Path) -> None:
    api_port, etcd_port, peer_port, nats_port = free_ports(4)
    etcd_url, peer_url = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    pair = Authority(tmp_path / "tls", "test").issue(
        Leaf(name="server", common_name="api", hosts=("127.0.0.1",), server=True)
    )
    tree = yaml.safe_load(EXAMPLE.read_text())
    section = tree["controller"]
    section["api"] |= {"port": api_port, "tls_cert": str(pair.certificate), "tls_key": str(pair.key)}
    section["api"]["address"] = "127.0.0.1"
    section["etcd"]["endpoints"] = [etcd_url]
    section["nats"] = {"listen": f"127.0.0.1:{nats_port}"}
    section["state_dir"] = str(tmp_path / "group")
    file = tmp_path / "controller.yaml"
    file.write_text(yaml.safe_dump(tree))
    kubeconfig = tmp_path / "kubeconfig"
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(tmp_path / "cache")}

    def kubectl(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [BIN / "kubectl", *arguments], input=stdin, capture_output=True, text=True, env=environ, check=False
        )
        return done.stdout

    etcd = (
        *("etcd", "--data-dir", tmp_path / "etcd", "--listen-client-urls", etcd_url),
        *("--advertise-client-urls", etcd_url, "--listen-peer-urls", peer_url),
        *("--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"),
    )
    with (
        process(*etcd, log=tmp_path / "etcd.log"),
        process(BIN / "orch-controller", f"--config={file}", log=tmp_path / "group.log") as group,
    ):
        own = tmp_path / "group" / "pki"
        eventually((own / "admin.key").exists)
        admin = KeyPair(pair.authority, own / "admin.crt", own / "admin.key")
        write_kubeconfig(kubeconfig, cluster="group", server=f"https://127.0.0.1:{api_port}", admin=admin)
        eventually(lambda: "ok" in kubectl("get", "--raw", "/readyz"))

        # The controllers work: a namespace gets its ServiceAccount.
        kubectl("apply", "-f", "-", stdin="{apiVersion: v1, kind: Namespace, metadata: {name: proof}}")
        eventually(lambda: "default" in kubectl("get", "serviceaccounts", "-n", "proof", "-o", "name"))

        running = children(group.pid)
        assert set(running) == {"orch-api", "orch-scheduler", "orch-controllers"}
        os.kill(running["orch-api"], signal.SIGKILL)
        eventually(lambda: children(group.pid).get("orch-api", running["orch-api"]) != running["orch-api"])
        eventually(lambda: "ok" in kubectl("get", "--raw", "/readyz"))
        assert "proof" in kubectl("get", "namespaces")
    assert group.returncode == 0
    assert children(group.pid) == {}
    assert not list((tmp_path / "group" / "run").glob("*.pid"))
