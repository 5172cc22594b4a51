"""The local cluster writes the services' settings as files; each service's own Struct must take them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from orch import config
from orch.bus.server import binary
from orch_agent.config import AgentConfig
from orch_api.config import ApiConfig
from orch_cli.cluster import Cluster
from orch_cli.images import image_programs, pull_environment, registries_file
from orch_cli.layout import Layout
from orch_cli.network import node_network
from orch_cli.nodes import podman_settings
from orch_cli.programs import write_yaml
from orch_cli.state import ClusterState, Ports
from orch_controllers.config import ControllersConfig
from orch_scheduler.config import SchedulerConfig

PORTS = Ports(api=6443, etcd=2379, etcd_peer=2380, nats=4222)
SIMULATED = ClusterState(cluster="abc123", ports=PORTS, nodes=7, runtime="simulated")
PODMAN = ClusterState(cluster="abc123", ports=PORTS, nodes=3, runtime="podman", mirror="/images")


def test_a_simulated_cluster(tmp_path: Path) -> None:
    programs, _ = Cluster(Layout(tmp_path), SIMULATED).prepare()
    assert [program.name for program in programs] == ["etcd", "nats", "api", "scheduler", "controllers", "agent"]
    files = tmp_path / "config"
    api = config.load(ApiConfig, service="api", file=files / "api.yaml", environ={})
    scheduler = config.load(SchedulerConfig, service="scheduler", file=files / "scheduler.yaml", environ={})
    controllers = config.load(ControllersConfig, service="controllers", file=files / "controllers.yaml", environ={})
    agent = config.load(AgentConfig, service="agent", file=files / "agent.yaml", environ={})
    agent.check()
    assert agent.fleet.nodes == 7
    assert (api.address, api.port) == ("127.0.0.1", 6443)
    users = [each.nats.user for each in (api, scheduler, controllers, agent)]
    assert users == [
        "system:apiserver",
        "system:kube-scheduler",
        "system:kube-controller-manager",
        "system:nodes:simulated",
    ]
    for each in (api, scheduler, controllers, agent):
        for path in (each.nats.ca_file, each.nats.cert_file, each.nats.key_file, each.nats.nkey_seed_file):
            assert Path(path).is_file()
        assert each.nats.servers == ("tls://127.0.0.1:4222",)
    for each in (api, scheduler, controllers):
        assert Path(each.etcd.cert_file).parent.name == "etcd"


def test_the_bus_accepts_its_configuration(tmp_path: Path) -> None:
    Cluster(Layout(tmp_path), SIMULATED).prepare()
    checked = subprocess.run(
        [binary(), "--config", tmp_path / "config/nats.conf", "-t"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_podman_node(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    file = tmp_path / "agent.yaml"
    write_yaml(file, podman_settings(layout, PODMAN, 1, "/registries.conf", config.NatsConfig()))
    agent = config.load(AgentConfig, service="agent", file=file, environ={})
    agent.check()
    assert (agent.node_name, agent.node_ip, agent.pod_cidr) == ("node-2", "10.245.0.12", "10.244.2.0/24")
    assert agent.network.network_namespace == "orch-abc123-node-2"
    assert [(route.to, route.via) for route in agent.network.routes] == [
        ("10.244.1.0/24", "10.245.0.11"),
        ("10.244.3.0/24", "10.245.0.13"),
    ]
    assert agent.network.blackholes == ("10.244.0.0/16", "10.96.0.0/16")
    # A socket's path holds 107 characters, and Podman wants its run folder below 50.
    assert len(agent.podman.socket) < 100
    assert len(agent.podman.runroot) < 50


def test_every_podman_node_has_a_place_of_its_own() -> None:
    places = [node_network("abc123", index) for index in range(100)]
    assert len({place.address for place in places}) == 100
    assert len({place.pod_cidr for place in places}) == 100
    assert places[0].pod_cidr == "10.244.1.0/24"
    assert places[99].pod_cidr == "10.244.100.0/24"


@pytest.mark.parametrize(
    ("mirror", "offline", "programs"), [("/images", "0", ["mirror"]), ("", "1", []), ("", "0", ["doorway"])]
)
def test_images_come_from_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str, offline: str, programs: list[str]
) -> None:
    monkeypatch.setenv("ORCH_OFFLINE", offline)
    state = ClusterState(cluster="abc123", ports=PORTS, nodes=2, runtime="podman", mirror=mirror)
    assert [program.name for program in image_programs(state, tmp_path)] == programs
    assert bool(pull_environment(state)) == (programs == ["doorway"])
    registries = Path(registries_file(state, tmp_path)).read_text()
    assert ("insecure = true" in registries) == bool(mirror)
    if mirror:
        served = yaml.safe_load((tmp_path / "mirror.yaml").read_text())
        assert served["storage"]["filesystem"]["rootdirectory"] == "/images"
        assert served["storage"]["maintenance"]["readonly"]["enabled"]
