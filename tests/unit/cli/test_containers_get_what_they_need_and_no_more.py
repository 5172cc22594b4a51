from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from orch import config
from orch.bus.server import binary
from orch.errors import ConfigError
from orch_agent.config import AgentConfig
from orch_api.config import ApiConfig
from orch_cli.layout import Layout
from orch_cli.prepare import Plan, prepare
from orch_controllers.config import ControllersConfig
from orch_scheduler.config import SchedulerConfig

KINDS = {
    "api": ApiConfig,
    "scheduler": SchedulerConfig,
    "controllers": ControllersConfig,
    "node-1": AgentConfig,
    "node-2": AgentConfig,
}


def prepared(root: Path, **choices: object) -> Path:
    assert prepare(Layout(root), Plan(**choices)) == 0  # pyright: ignore[reportArgumentType]
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_service_accepts_its_settings(tmp_path: Path) -> None:
    prepared(tmp_path)
    for name, kind in KINDS.items():
        service = "agent" if name.startswith("node-") else name
        settings = config.load(kind, service=service, file=tmp_path / name / "config.yaml", environ={})
        if isinstance(settings, AgentConfig):
            settings.check()


def test_files_that_settings_name_are_in_the_same_folder(tmp_path: Path) -> None:
    prepared(tmp_path)
    for name in KINDS:
        text = (tmp_path / name / "config.yaml").read_text()
        named = [word for word in text.split() if word.startswith("/etc/orch/")]
        assert named
        assert all((tmp_path / name / Path(word).name).exists() for word in named)


def test_nats_accepts_its_configuration(tmp_path: Path) -> None:
    prepared(tmp_path)
    text = (tmp_path / "nats/nats.conf").read_text().replace("/etc/orch", str(tmp_path / "nats"))
    (tmp_path / "checked.conf").write_text(text.replace("/data", str(tmp_path / "streams")))
    subprocess.run([binary(), "-t", "-c", tmp_path / "checked.conf"], check=True, capture_output=True)


def test_the_authorities_keys_stay_in_their_folder_and_all_keys_are_private(tmp_path: Path) -> None:
    prepared(tmp_path)
    keys = {path.read_bytes() for path in (tmp_path / "pki").rglob("ca.key")}
    assert len(keys) == 2
    for path in tmp_path.rglob("*"):
        if path.is_file() and "pki" not in path.parts:
            assert path.read_bytes() not in keys
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        elif path.is_dir() and path.parent == tmp_path:
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_nodes_hold_nothing_that_opens_etcd(tmp_path: Path) -> None:
    prepared(tmp_path)
    assert {path.name for path in (tmp_path / "node-1").iterdir()} == {
        "bus.crt",
        "bus.key",
        "bus.nkey",
        "ca.crt",
        "config.yaml",
        "registries.conf",
    }


def test_what_was_made_is_kept_by_the_next_run(tmp_path: Path) -> None:
    before = contents(prepared(tmp_path))
    assert contents(prepared(tmp_path)) == before
    grown = contents(prepared(tmp_path, nodes=3))
    assert before["node-1/bus.key"] == grown["node-1/bus.key"]
    assert "node-3/config.yaml" in grown
    assert "10.244.3.0/24" in grown["node-1/config.yaml"].decode()


def test_servers_are_certified_for_the_names_they_are_called_by(tmp_path: Path) -> None:
    prepared(tmp_path, server="https://cluster.example:7443")

    def names(file: str) -> list[str]:
        certificate = x509.load_pem_x509_certificate((tmp_path / file).read_bytes())
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return extension.value.get_values_for_type(x509.DNSName)

    assert {"api", "cluster.example", "localhost"} <= set(names("api/server.crt"))
    assert "nats" in names("nats/server.crt")
    assert "etcd" in names("etcd/server.crt")
    cluster = yaml.safe_load((tmp_path / "kubeconfig").read_text())["clusters"][0]["cluster"]
    assert cluster["server"] == "https://cluster.example:7443"


def test_prometheus_is_of_the_group_that_may_read_figures(tmp_path: Path) -> None:
    prepared(tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "prometheus/client.crt").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=system:prometheus,O=system:monitoring"


def test_a_mirror_is_asked_instead_of_docker_hub(tmp_path: Path) -> None:
    prepared(tmp_path, mirror="registry:5000")
    assert 'location = "registry:5000"' in (tmp_path / "node-1/registries.conf").read_text()


@pytest.mark.parametrize("server", ["127.0.0.1:6443", "http://127.0.0.1", "https://"])
def test_a_server_that_is_no_https_address_is_refused(tmp_path: Path, server: str) -> None:
    with pytest.raises(ConfigError, match="--server: expected an address such as"):
        prepare(Layout(tmp_path), Plan(server=server))
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_where_all_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orch_cli", "prepare", "--state", str(tmp_path / "state"), "--nodes", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"are in {tmp_path / 'state'}" in said
