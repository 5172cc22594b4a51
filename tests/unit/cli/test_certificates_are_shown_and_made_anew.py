"""`orch certs` and the supervisor's upkeep: what there is, new ones on demand, new ones in time."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orch.bus.node_users import encode_keys
from orch.bus.user_keys import encode_public
from orch_cli.certs import left, read_certificates
from orch_cli.cluster import Cluster
from orch_cli.layout import Layout
from orch_cli.pki import LEAF_LIFETIME, Authority, Leaf
from orch_cli.process import Pid, start_ticks
from orch_cli.state import ClusterState, Ports
from orch_cli.upkeep import Upkeep

STATE = ClusterState(
    cluster="abc123", ports=Ports(api=6443, etcd=2379, etcd_peer=2380, nats=4222), nodes=1, runtime="simulated"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(Layout(tmp_path), STATE)
    made.prepare()
    return made


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob(pattern)}


def test_every_certificate_is_named_with_its_purpose_and_end(cluster: Cluster) -> None:
    found = {one.name: one for one in read_certificates(cluster.layout.pki)}
    assert (found["ca"].purpose, found["api-server"].purpose) == ("authority", "server")
    assert (found["etcd/server"].purpose, found["etcd/server"].issuer) == ("server+client", "orch-etcd")
    assert (found["fleet"].subject, found["fleet"].issuer) == ("system:nodes:simulated (system:nodes)", "orch")
    assert timedelta(days=364) < found["fleet"].ends - datetime.now(UTC) <= LEAF_LIFETIME


def test_renewing_makes_certificates_anew_and_keeps_keys_and_authorities(cluster: Cluster) -> None:
    pki, kubeconfig = cluster.layout.pki, cluster.layout.kubeconfig
    keys, certificates, config = contents(pki, "*.key"), contents(pki, "*.crt"), kubeconfig.read_text()
    cluster.identities(renew=True)
    assert contents(pki, "*.key") == keys
    renewed = contents(pki, "*.crt")
    assert {name for name in renewed if renewed[name] == certificates[name]} == {"ca.crt", "etcd/ca.crt"}
    assert kubeconfig.read_text() != config, "it holds a copy of the administrator's"


def test_a_kubeconfig_that_still_opens_is_left_as_its_user_has_it(cluster: Cluster) -> None:
    kubeconfig = cluster.layout.kubeconfig
    kubeconfig.write_text(f"{kubeconfig.read_text()}# mine\n")
    cluster.identities()
    assert kubeconfig.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "over"), (0, "over"), (90, "90s"), (119, "119s"), (7200, "2h"), (86400 * 3, "3d")]
)
def test_what_is_left_reads_as_an_age(seconds: int, text: str) -> None:
    assert left(timedelta(seconds=seconds)) == text


async def test_the_bus_is_told_of_a_node_and_certificates_that_end_soon_are_replaced(cluster: Cluster) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, told.set)
    layout, key = cluster.layout, encode_public(bytes(32))
    us = Pid(os.getpid(), start_ticks(os.getpid()))
    running = asyncio.create_task(Upkeep(cluster, lambda: us).run())
    try:
        await asyncio.sleep(0)
        layout.data.mkdir(exist_ok=True)
        layout.bus_keys.write_bytes(encode_keys({"joined": key}))
        async with asyncio.timeout(10):
            await told.wait()
        assert key in layout.nats_config.read_text()
        told.clear()
        soon = datetime.now(UTC) - LEAF_LIFETIME + timedelta(minutes=1)
        short = Authority(layout.pki, "orch", now=soon, renew=True)
        short.issue(Leaf(name="nats-server", common_name="nats", hosts=("localhost", "127.0.0.1"), server=True))
        async with asyncio.timeout(10):
            await told.wait()
        ends = {one.name: one.ends for one in read_certificates(layout.pki)}
        assert ends["nats-server"] - datetime.now(UTC) > timedelta(days=300)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
