from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig, load, parse_duration
from orch.errors import ConfigError


class Api(msgspec.Struct, frozen=True, kw_only=True):
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6443
    tls_cert: str = ""
    tls_key: str = ""


class Controller(msgspec.Struct, frozen=True, kw_only=True):
    api: Api = Api()
    etcd: EtcdConfig = EtcdConfig()
    workers: int = 10
    resync_period: Duration = 30.0
    leader_election: bool = True
    features: dict[str, bool] = {}
    mode: Literal["fast", "safe"] = "safe"
    extra: Api | None = None
    several: tuple[Api, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    controller: Controller = Controller()


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return load(Settings, service="controller", file=file, environ=environ or {})


def test_the_specifications_file_is_read(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
controller:
  api:
    port: 6443
    tls_cert: /etc/orch/tls/server.crt
    tls_key: /etc/orch/tls/server.key
  etcd:
    endpoints:
      - http://etcd-0:2379
      - http://etcd-1:2379
    dial_timeout: 5s
  workers: 10
  resync_period: 1m30s
  leader_election: true
  features:
    pod_priority: true
    horizontal_pod_autoscaling: false
""",
    ).controller
    assert settings.api.tls_key == "/etc/orch/tls/server.key"
    assert settings.etcd.endpoints == ("http://etcd-0:2379", "http://etcd-1:2379")
    assert settings.etcd.dial_timeout == 5.0
    assert settings.resync_period == 90.0
    assert settings.features == {"pod_priority": True, "horizontal_pod_autoscaling": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("controller: {api: {prot: 1}}", "controller.api.prot: unknown key; known: port, tls_cert, tls_key"),
        ("controler: {}", "controler: unknown key; known: controller"),
        ("controller: {api: {port: many}}", "controller.api.port: expected `int`, got `str`"),
        ("controller: {api: {port: '6443'}}", "controller.api.port: expected `int`, got `str`"),
        ("controller: {api: {port: 70000}}", "controller.api.port: expected `int` <= 65535"),
        ("controller: {api: []}", "controller.api: expected a section of keys and values, got a list"),
        ("controller: {features: {pod_priority: 3}}", "controller.features.pod_priority: expected `bool`, got `int`"),
        ("controller: {etcd: {endpoints: x}}", "controller.etcd.endpoints: expected a list, got text"),
        ("controller: {etcd: {endpoints: [a, 1]}}", "controller.etcd.endpoints[1]: expected `str`, got `int`"),
        ("controller: {several: [{}, {prot: 1}]}", "controller.several[1].prot: unknown key; known: port, tls_cert"),
        ("controller: {resync_period: soon}", "controller.resync_period: invalid duration 'soon'"),
        ("controller: {resync_period: -1}", "controller.resync_period: expected a duration that is finite"),
        ("controller: {resync_period: .inf}", "controller.resync_period: expected a duration that is finite"),
        ("controller: {resync_period: true}", 'controller.resync_period: expected a duration such as "5s", got true'),
        ("controller: {mode: slow}", "controller.mode: invalid enum value 'slow'"),
        ("controller: {workers: 1, workers: 2}", "key 'workers' is given twice"),
        ("controller: {1: 2}", "controller: the key 1 is not text"),
        ("controller: {[a]: 2}", "is not valid YAML"),
        ("controller: [", "is not valid YAML"),
        ("[]", "expected a section"),
    ],
)
def test_what_is_unknown_or_unusable_is_refused_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load(Settings, service="controller", file=tmp_path / "absent.yaml", environ={})


def test_an_empty_file_and_empty_sections_mean_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Settings()
    assert read(tmp_path, "controller:\n  api:\n") == Settings()
    assert load(Settings, service="controller", file=None, environ={}) == Settings()


def test_sections_may_be_shared_by_yaml_aliases(tmp_path: Path) -> None:
    text = "controller:\n  api: &a {port: 5}\n  extra: {<<: *a, tls_key: k}\n  several: [*a]\n"
    settings = read(tmp_path, text, {"ORCH_CONTROLLER_CONTROLLER__API__PORT": "6"}).controller
    assert (settings.api.port, settings.several[0].port) == (6, 5)
    assert settings.extra == Api(port=5, tls_key="k")


def test_variables_override_the_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "controller: {workers: 3, api: {port: 1, tls_cert: kept}}",
        {
            "ORCH_CONTROLLER_CONTROLLER__API__PORT": "8443",
            "ORCH_CONTROLLER_CONTROLLER__ETCD__ENDPOINTS": "http://a:1, http://b:2",
            "ORCH_CONTROLLER_CONTROLLER__ETCD__DIAL_TIMEOUT": "250ms",
            "ORCH_CONTROLLER_CONTROLLER__LEADER_ELECTION": "false",
            "ORCH_CONTROLLER_CONTROLLER__FEATURES__POD_PRIORITY": "true",
            "ORCH_CONTROLLER_CONTROLLER__EXTRA": "{port: 5}",
            "ORCH_CONTROLLER_CONTROLLER__EXTRA__TLS_KEY": "k",
            "ORCH_CONTROLLER_CONTROLLER__SEVERAL": "[{port: 7}]",
            "ORCH_CONTROLLERS_OTHER": "another service's",
        },
    ).controller
    assert settings.workers == 3
    assert settings.api == Api(port=8443, tls_cert="kept")
    assert settings.etcd == EtcdConfig(endpoints=("http://a:1", "http://b:2"), dial_timeout=0.25)
    assert settings.leader_election is False
    assert settings.features == {"pod_priority": True}
    assert settings.extra == Api(port=5, tls_key="k")
    assert settings.several == (Api(port=7),)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("ORCH_CONTROLLER_CONTROLLER__WORKRES", "3", "ORCH_CONTROLLER_CONTROLLER__WORKRES: unknown key; known: api"),
        ("ORCH_CONTROLLER_X__Y", "3", "ORCH_CONTROLLER_X__Y: unknown key; known: controller"),
        ("ORCH_CONTROLLER_CONTROLLER__WORKERS", "many", "ORCH_CONTROLLER_CONTROLLER__WORKERS: expected `int`"),
        ("ORCH_CONTROLLER_CONTROLLER__WORKERS__X", "1", "ORCH_CONTROLLER_CONTROLLER__WORKERS__X: expected a section"),
        ("ORCH_CONTROLLER_CONTROLLER__RESYNC_PERIOD", "x", "ORCH_CONTROLLER_CONTROLLER__RESYNC_PERIOD: invalid dur"),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "controller: {workers: 3}", {variable: text})
    assert message in str(caught.value)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    pair: Pair


def test_a_required_key_and_a_rule_over_a_section_are_reported() -> None:
    def read_pair(**environ: Any) -> Outer:
        return load(Outer, service="x", file=None, environ=environ)

    with pytest.raises(ConfigError, match=r"^pair: is required$"):
        read_pair()
    with pytest.raises(ConfigError, match=r"^pair\.high: is required$"):
        read_pair(ORCH_X_PAIR__LOW="1")
    with pytest.raises(ConfigError, match="low is above high"):
        read_pair(ORCH_X_PAIR__LOW="1", ORCH_X_PAIR__HIGH="0")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m30s", 90), ("250ms", 0.25), ("1h", 3600), ("1.5s", 1.5), ("0", 0), ("3", 3), ("10us", 1e-5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 s", "5x", "1e3", "nan", "5s "])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


def test_the_shared_sections_have_working_defaults() -> None:
    assert NatsConfig().servers == ("tls://127.0.0.1:4222",)
    assert TelemetryConfig().log_format == "text"
    with pytest.raises(ConfigError, match="SAMPLE_RATIO: expected `float` <= 1"):
        load(TelemetryConfig, service="t", file=None, environ={"ORCH_T_SAMPLE_RATIO": "1.5"})
