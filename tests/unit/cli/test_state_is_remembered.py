from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orch.errors import ConfigError
from orch_cli.layout import Layout
from orch_cli.state import LockedError, Wishes, free_ports, load_state, only_supervisor, settle_state

SIMULATED = Wishes(runtime="simulated")


def test_a_second_up_finds_the_same_cluster(tmp_path: Path) -> None:
    first = settle_state(Layout(tmp_path), Wishes(port=16443, nodes=5, runtime="simulated", mirror=tmp_path))
    assert settle_state(Layout(tmp_path), Wishes()) == first
    assert load_state(Layout(tmp_path)) == first


def test_a_wish_overrides_what_is_remembered(tmp_path: Path) -> None:
    first = settle_state(Layout(tmp_path), SIMULATED)
    second = settle_state(Layout(tmp_path), Wishes(port=17443, nodes=3))
    assert (second.ports.api, second.nodes, second.runtime) == (17443, 3, "simulated")
    assert (second.cluster, second.ports.etcd) == (first.cluster, first.ports.etcd)


def test_where_spans_go_is_remembered_until_it_is_taken_back(tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:4318"
    settle_state(Layout(tmp_path), Wishes(runtime="simulated", otlp=endpoint))
    assert settle_state(Layout(tmp_path), Wishes()).telemetry().otlp_endpoint == endpoint
    assert settle_state(Layout(tmp_path), Wishes(otlp="")).telemetry().otlp_endpoint == ""


def test_two_folders_are_two_clusters(tmp_path: Path) -> None:
    one, two = (settle_state(Layout(tmp_path / name), SIMULATED) for name in ("one", "two"))
    assert one.cluster != two.cluster


def test_a_port_that_something_else_took_meanwhile_is_replaced(tmp_path: Path) -> None:
    first = settle_state(Layout(tmp_path), SIMULATED)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first.ports.nats))
        squatter.listen()
        second = settle_state(Layout(tmp_path), Wishes())
    assert second.ports.nats != first.ports.nats
    assert second.ports.etcd == first.ports.etcd


@pytest.mark.parametrize(("runtime", "nodes"), [("podman", 101), ("simulated", 10_001)])
def test_too_many_nodes_are_refused(tmp_path: Path, runtime: str, nodes: int) -> None:
    with pytest.raises(ConfigError, match=f"--nodes: {nodes} is more than"):
        settle_state(Layout(tmp_path), Wishes(runtime=runtime, nodes=nodes))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["", "{", '{"version": 1}', '{"version": 2}', '{"cluster": 5}'])
def test_an_unusable_state_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(ConfigError, match=r"state\.json"):
        load_state(Layout(tmp_path))


def test_only_one_supervisor_at_a_time(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with only_supervisor(layout), pytest.raises(LockedError, match="already up"), only_supervisor(layout):
        pass
    with only_supervisor(Layout(tmp_path)):
        pass


def test_free_ports_differ_and_spare_the_one_to_avoid() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert ports[0] not in free_ports(50, avoid=ports[0])
