from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orch import config
from orch.errors import ConfigError
from orch_api.config import ApiConfig
from orch_cli.controller import ControllerFile, main, programs_of
from orch_controllers.config import ControllersConfig
from orch_scheduler.config import SchedulerConfig

EXAMPLE = Path(__file__).parents[3] / "config" / "controller.yaml"


def example(folder: Path, **changes: object) -> Path:
    tree = yaml.safe_load(EXAMPLE.read_text())
    section = tree["controller"]
    for name in ("tls_cert", "tls_key"):
        section["api"][name] = str(folder / name)
        (folder / name).touch()
    section["state_dir"] = str(folder / "state")
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = section
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    file = folder / "controller.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def load(file: Path) -> ControllerFile:
    return config.load(ControllerFile, service="controller", file=file, environ={})


def settings(folder: Path) -> tuple[ApiConfig, SchedulerConfig, ControllersConfig]:
    files = folder / "state" / "config"
    return (
        config.load(ApiConfig, service="api", file=files / "api.yaml", environ={}),
        config.load(SchedulerConfig, service="scheduler", file=files / "scheduler.yaml", environ={}),
        config.load(ControllersConfig, service="controllers", file=files / "controllers.yaml", environ={}),
    )


def test_every_key_of_the_specification_reaches_its_service(tmp_path: Path) -> None:
    file = example(
        tmp_path,
        api__port=7443,
        etcd__dial_timeout="7s",
        workers=3,
        resync_period="45s",
        leader_election=False,
        features={"pod_priority": False, "pod_affinity": False, "horizontal_pod_autoscaling": False},
    )
    programs = programs_of(load(file).controller)
    assert [program.name for program in programs] == ["nats", "api", "scheduler", "controllers"]
    api, scheduler, controllers = settings(tmp_path)
    assert (api.port, api.tls_cert_file, api.tls_key_file) == (
        7443,
        str(tmp_path / "tls_cert"),
        str(tmp_path / "tls_key"),
    )
    for each in (api, scheduler, controllers):
        assert each.etcd.endpoints == ("http://etcd-0:2379", "http://etcd-1:2379", "http://etcd-2:2379")
        assert each.etcd.dial_timeout == 7
        assert each.nats.servers == ("tls://127.0.0.1:4222",)
    assert (scheduler.pod_priority, scheduler.pod_affinity, scheduler.leader_election) == (False, False, False)
    assert (controllers.workers, controllers.resync_period, controllers.leader_election) == (3, 45, False)
    assert controllers.horizontal_pod_autoscaling is False


def test_the_specifications_own_file_is_accepted_as_it_is() -> None:
    section = load(EXAMPLE).controller
    assert (section.api.port, section.workers, section.resync_period) == (6443, 10, 30)
    assert section.etcd.dial_timeout == 5
    assert section.features.pod_priority


def test_a_bus_that_is_there_is_used_with_the_identities_of_a_folder(tmp_path: Path) -> None:
    nats = {"servers": ["tls://nats-0:4222"], "ca_file": "/pki/ca.crt", "identities": "/pki"}
    programs = programs_of(load(example(tmp_path, nats=nats)).controller)
    assert [program.name for program in programs] == ["api", "scheduler", "controllers"]
    for each, name in zip(settings(tmp_path), ("api", "scheduler", "controllers"), strict=True):
        assert each.nats.servers == ("tls://nats-0:4222",)
        assert each.nats.nkey_seed_file == f"/pki/{name}.nkey"
    assert settings(tmp_path)[1].nats.user == "system:kube-scheduler"


def test_the_groups_own_bus_knows_the_nodes_that_are_named(tmp_path: Path) -> None:
    programs_of(load(example(tmp_path, nats={"nodes": ["edge-1"]})).controller)
    assert (tmp_path / "state" / "pki" / "edge-1.nkey").exists()
    assert "orch.reports.edge-1.>" in (tmp_path / "state" / "config" / "nats.conf").read_text()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"worker": 3}, "controller.worker: unknown key"),
        ({"workers": 0}, "controller.workers: "),
        ({"workers": "many"}, "controller.workers: "),
        ({"api__port": 70000}, "controller.api.port: "),
        ({"api__tls_crt": "x"}, "controller.api.tls_crt: unknown key"),
        ({"etcd__dial_timeout": "soon"}, "controller.etcd.dial_timeout: "),
        ({"etcd__endpoints": "one"}, "controller.etcd.endpoints: "),
        ({"features__pod_priorities": True}, "controller.features.pod_priorities: unknown key"),
        ({"features__pod_affinity": "maybe"}, "controller.features.pod_affinity: "),
        ({"resync_period": -1}, "controller.resync_period: "),
        ({"api__tls_cert": "/nowhere/server.crt"}, "controller.api.tls_cert: there is no file /nowhere/server.crt"),
    ],
)
def test_what_is_unknown_or_unusable_is_refused_with_its_path(
    tmp_path: Path, changes: dict[str, object], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(example(tmp_path, **changes))])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"orch-controller: {path}")


def test_a_missing_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", "/nowhere/controller.yaml"])
    assert "/nowhere/controller.yaml" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    with pytest.raises(ConfigError, match=r"controller\.state_dir"):
        programs_of(load(example(tmp_path, state_dir=str(tmp_path / "occupied" / "state"))).controller)
