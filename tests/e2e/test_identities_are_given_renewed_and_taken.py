"""A machine joins with one command and goes with its Node; certificates end under load and nobody notices."""

from __future__ import annotations

import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from local_cluster import BIN, LocalCluster

from orch.clock import SystemClock
from orch_agent.identity.renewal import CertificateRenewal
from orch_cli.identities import API_HOSTS, LOOPBACK
from orch_cli.pki import LEAF_LIFETIME, Authority, Leaf

LIFE = 6.0
NODE = "joined"


@pytest.fixture
def joined(simulated: LocalCluster, tmp_path: Path) -> Iterator[Path]:
    """The log of an agent that was brought in by the printed command; its node is gone in the end."""
    command = simulated.orch("token", "create", "--ttl", "5m").split()
    log = tmp_path / "agent.log"
    more = ("--node-name", NODE, "--runtime", "simulated", "--state-dir", str(tmp_path / "state"))
    with log.open("w") as output:
        agent = subprocess.Popen([BIN / command[0], *command[1:], *more], stdout=output, stderr=output)
    try:
        yield log
    finally:
        agent.terminate()
        agent.wait(20)
        simulated.kubectl("delete", "node", NODE, "--ignore-not-found")


def test_a_machine_joins_works_and_is_cut_off_with_its_node(
    simulated: LocalCluster, namespace: Callable[[LocalCluster], str], joined: Path, tmp_path: Path
) -> None:
    ready = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    simulated.wait(
        lambda: simulated.kubectl("get", "node", NODE, "-o", ready, check=False) == "True",
        what=f"the node is Ready; {joined.read_text()}",
    )
    space = namespace(simulated)
    override = f'--overrides={{"spec":{{"nodeName":"{NODE}"}}}}'
    simulated.kubectl("run", "there", "-n", space, "--image=docker.io/library/busybox", override)
    simulated.kubectl("wait", "-n", space, "pod/there", "--for=condition=Ready", "--timeout=30s")

    folder = tmp_path / "state" / "identity"
    before = (folder / "node.pem").read_bytes()
    server = f"https://127.0.0.1:{simulated.port}"
    CertificateRenewal(server, NODE, folder / "node.pem", folder / "ca.crt", SystemClock()).renew()
    after = (folder / "node.pem").read_bytes()
    assert after != before
    common, groups = (f"CN=system:node:{NODE}", "O=system:nodes")
    assert x509.load_pem_x509_certificate(after).subject.rfc4514_string() == f"{common},{groups}"

    assert NODE in simulated.layout.bus_keys.read_text()
    losses = lost(simulated)
    simulated.kubectl("delete", "node", NODE)
    simulated.wait(lambda: "Lost the connection to NATS" in joined.read_text(), timeout=5, what="the node is cut off")
    assert NODE not in simulated.layout.bus_keys.read_text()
    assert lost(simulated) == losses, "those who may stay keep their connections"


def lost(cluster: LocalCluster) -> dict[str, int]:
    """Return how often each service has lost its connection to the bus."""
    return {log.name: log.read_text().count("Lost the connection to NATS") for log in cluster.layout.logs.glob("*.log")}


def test_who_cannot_be_believed_is_not_joined(simulated: LocalCluster, tmp_path: Path) -> None:
    command = simulated.orch("token", "create", "--description", "not for long").split()
    token = command[command.index("--token") + 1]

    def join(*arguments: str) -> str:
        more = ("--node-name", "never", "--state-dir", str(tmp_path / "never"), "--enrol-only")
        done = subprocess.run(
            [BIN / arguments[0], *arguments[1:], *more], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1, done.stdout
        return done.stderr

    wrong = [re.sub("sha256:.*", f"sha256:{'0' * 64}", word) for word in command]
    assert "is not the one that --ca-cert-hash names" in join(*wrong)
    public, _, secret = token.partition(".")
    listed = simulated.orch("token", "list")
    assert public in listed
    assert secret not in listed
    simulated.orch("token", "delete", token)
    assert "Unauthorized" in join(*command)
    assert simulated.rest()("GET", "/api/v1/nodes/never").status == 404
    assert not list((tmp_path / "never").rglob("*.pem"))


def test_certificates_that_end_are_replaced_without_a_failed_request(
    simulated: LocalCluster, namespace: Callable[[LocalCluster], str]
) -> None:
    pki, space = simulated.layout.pki, namespace(simulated)
    watch = simulated.kubectl_start("get", "configmaps", "-n", space, "--watch-only", "-o", "name")
    load = Load(simulated)
    try:
        load.start()
        began = time.monotonic()
        past = datetime.now(UTC) - LEAF_LIFETIME + timedelta(seconds=LIFE)
        ours, etcds = (
            Authority(pki, "orch", now=past, renew=True),
            Authority(pki / "etcd", "orch", now=past, renew=True),
        )
        ours.issue(Leaf(name="api-server", common_name="orch-api", hosts=API_HOSTS, server=True))
        etcds.issue(Leaf(name="server", common_name="etcd", hosts=LOOPBACK, server=True, client=True))
        for authority in (ours, etcds):
            authority.issue(Leaf(name="scheduler", common_name="system:kube-scheduler", client=True))
        simulated.wait(lambda: end_of(simulated) < datetime.now(UTC) + timedelta(minutes=1), what="it is served")
        ours.issue(Leaf(name="nats-server", common_name="nats", hosts=LOOPBACK, server=True))
        # The supervisor sees what has changed, and that it ends soon.
        simulated.wait(lambda: end_of(simulated) > datetime.now(UTC) + timedelta(days=30), timeout=LIFE)
        assert time.monotonic() - began < LIFE, "replaced before their end"
        simulated.wait(lambda: time.monotonic() - began > LIFE + 1, what="all of them have ended")
        killed = simulated.kill("scheduler")  # has to connect to etcd and NATS anew
        simulated.wait(lambda: simulated.restarted("scheduler", killed))
        simulated.kubectl("create", "configmap", "late", "-n", space)
        simulated.kubectl("run", "late", "-n", space, "--image=docker.io/library/busybox")
        simulated.kubectl("wait", "-n", space, "pod/late", "--for=condition=Ready", "--timeout=30s")
    finally:
        load.stop()
        watch.terminate()
        seen, _ = watch.communicate(timeout=20)
        table = simulated.orch("certs", "renew")
    assert load.failures == []
    assert load.served > 20
    assert "configmap/late" in seen
    assert re.search(r"^etcd/server +server\+client +etcd +orch-etcd +\S+Z +36[45]d$", table, re.MULTILINE), table


def end_of(cluster: LocalCluster) -> datetime:
    """Return when the certificate ends that the api shows to those who connect now."""
    shown = ssl.get_server_certificate(("127.0.0.1", cluster.port), timeout=5)
    return x509.load_pem_x509_certificate(shown.encode()).not_valid_after_utc


class Load:
    """Requests one after another, each on a connection of its own that verifies the api's certificate."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._rest = cluster.rest("admin")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failures: list[str] = []
        self.served = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._over.wait(0.05):
            try:
                status = self._rest("GET", "/api/v1/namespaces/default").status
            except OSError as error:
                self.failures.append(str(error))
            else:
                self.served += 1
                if status != 200:
                    self.failures.append(str(status))
