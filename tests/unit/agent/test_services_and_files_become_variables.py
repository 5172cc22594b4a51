from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orch.errors import UnavailableError
from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch.runtime.informer import Item
from orch_agent.pods.env_files import EnvFileError, read_beneath, variable_of
from orch_agent.pods.environment import ConfigurationError, Facts, expand, resolve
from orch_agent.pods.service_links import ServiceLinks, variables_of


def service(name: str, address: str = "10.96.0.7", namespace: str = "default", *ports: dict[str, Any]) -> Service:
    spec = {"clusterIP": address, "ports": list(ports) or [{"port": 80}]}
    return msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "spec": spec}, Service)


class Services:
    """An informer of services."""

    def __init__(self, *held: Service, synced: bool = True) -> None:
        self.synced = synced
        self._held = held

    async def wait_synced(self, timeout: float = 30) -> None:
        raise UnavailableError("no snapshot")

    def get(self, namespace: str, name: str) -> Any:
        found = [each for each in self.items(namespace) if each.name == name]
        return found[0] if found else None

    def items(self, namespace: str = "") -> list[Any]:
        return [
            Item(each.metadata.namespace, each.metadata.name, "u", 1, {}, None, b"", each)
            for each in self._held
            if each.metadata.namespace == namespace
        ]


def test_the_variables_of_a_service_are_kubelets() -> None:
    ports = ({"name": "web-ui", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"})
    assert variables_of([service("shop-front", "10.96.0.7", "default", *ports)]) == {
        "SHOP_FRONT_SERVICE_HOST": "10.96.0.7",
        "SHOP_FRONT_SERVICE_PORT": "80",
        "SHOP_FRONT_SERVICE_PORT_WEB_UI": "80",
        "SHOP_FRONT_SERVICE_PORT_DNS": "53",
        "SHOP_FRONT_PORT": "tcp://10.96.0.7:80",
        "SHOP_FRONT_PORT_80_TCP": "tcp://10.96.0.7:80",
        "SHOP_FRONT_PORT_80_TCP_PROTO": "tcp",
        "SHOP_FRONT_PORT_80_TCP_PORT": "80",
        "SHOP_FRONT_PORT_80_TCP_ADDR": "10.96.0.7",
        "SHOP_FRONT_PORT_53_UDP": "udp://10.96.0.7:53",
        "SHOP_FRONT_PORT_53_UDP_PROTO": "udp",
        "SHOP_FRONT_PORT_53_UDP_PORT": "53",
        "SHOP_FRONT_PORT_53_UDP_ADDR": "10.96.0.7",
    }
    assert variables_of([service("six", "fd00::7")])["SIX_PORT"] == "tcp://[fd00::7]:80"
    assert variables_of([service("headless", "None"), service("pending", "")]) == {}


async def test_a_pod_is_told_of_its_namespaces_services_and_always_of_the_api(node: Any) -> None:
    links = ServiceLinks(
        Services(  # type: ignore[arg-type] - what is needed of one
            service("kubernetes", "10.96.0.1"), service("mine", namespace="shop"), service("other")
        )
    )
    pod = node.pod(meta={"namespace": "shop"})
    told = await links.variables(pod)
    assert {"KUBERNETES_SERVICE_HOST", "MINE_SERVICE_HOST"} <= told.keys()
    assert "OTHER_SERVICE_HOST" not in told
    unlinked = await links.variables(node.pod(meta={"namespace": "shop"}, enableServiceLinks=False))
    assert "KUBERNETES_SERVICE_HOST" in unlinked
    assert "MINE_SERVICE_HOST" not in unlinked


async def test_nothing_starts_before_services_are_known_but_static_pods(node: Any) -> None:
    links = ServiceLinks(Services(synced=False))  # type: ignore[arg-type] - what is needed of one
    with pytest.raises(ConfigurationError, match="services have not yet been read at least once"):
        await links.variables(node.pod())
    assert await links.variables(node.pod(), may_be_unknown=True) == {}


def facts(**more: Any) -> Facts:
    return Facts(host_ip="192.0.2.1", pod_ip="10.1.0.9", allocatable={}, **more)


async def test_own_variables_hide_those_of_services_and_may_refer_to_them(node: Any) -> None:
    env = [{"name": "A_SERVICE_HOST", "value": "mine"}, {"name": "B", "value": "$(A_SERVICE_PORT)/$(A_SERVICE_HOST)"}]
    pod = node.pod({"name": "web", "env": env})
    known = {"A_SERVICE_HOST": "10.96.0.7", "A_SERVICE_PORT": "80"}
    found = await resolve(pod, pod.spec.containers[0], facts(services=known), node.objects)
    assert found == {"A_SERVICE_HOST": "mine", "A_SERVICE_PORT": "80", "B": "80/mine"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$(A", "$(A"),
        ("$A $ $$ $)", "$A $ $ $)"),
        ("$($(A))", "$($(A))"),
        ("a$(A)b$(A)", "a1b1"),
    ],
)
def test_references_are_expanded_as_in_kubelet(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


FILE = "# comment\n\n  A='one'\nB = 'two words # kept' \nC='line 1\nline 2\n'\nA='again'\nEMPTY=''\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [("A", "again"), ("B", "two words # kept"), ("C", "line 1\nline 2\n"), ("EMPTY", ""), ("NONE", None)],
)
def test_a_file_of_variables_is_read(key: str, value: str | None) -> None:
    assert variable_of(FILE, key) == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("A=plain", "line 1: the value of A must be in single quotes"),
        ('\nA="double"', "line 2: the value of A must be in single quotes"),
        ("A='a''b'", "line 1: nothing may follow the value of A"),
        ("X='1\n2'\nA='a'$B", "line 3: nothing may follow"),
        ("A='open", "line 1: the value of A has no closing quote"),
        ("export A='1'", "line 1: a variable is declared as"),
        ("A\n='1'", "line 1: a variable is declared as"),
    ],
)
def test_what_is_no_file_of_variables_is_told(content: str, problem: str) -> None:
    with pytest.raises(EnvFileError, match=problem):
        variable_of(content, "A")


async def test_a_key_of_a_file_in_a_volume(node: Any) -> None:
    async def opened(pod: Pod, volume: str, path: str) -> str | None:
        assert pod.metadata.name == "web-1"
        return FILE if (volume, path) == ("config", "app.env") else None

    def reference(path: str, key: str, **more: Any) -> dict[str, Any]:
        return {"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "config", "path": path, "key": key, **more}}}

    async def found(variable: dict[str, Any]) -> dict[str, str]:
        pod = node.pod({"name": "web", "env": [variable]})
        return await resolve(pod, pod.spec.containers[0], facts(files=opened), node.objects)

    assert await found(reference("app.env", "A")) == {"X": "again"}
    assert await found(reference("none.env", "A", optional=True)) == {}
    assert await found(reference("app.env", "NONE", optional=True)) == {}
    with pytest.raises(ConfigurationError, match=r'environment variable key "NONE" not found in file "app\.env"'):
        await found(reference("app.env", "NONE"))
    with pytest.raises(ConfigurationError, match=r'environment file "none\.env" not found in volume "config"'):
        await found(reference("none.env", "A"))


def test_a_file_is_read_below_its_volume_alone(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "secret").write_text("A='secret'")
    (volume / "app.env").write_text(FILE)
    (volume / "out").symlink_to(tmp_path / "secret")
    (volume / "long").write_bytes(b"#" * 70_000)
    (volume / "odd").write_bytes(b"\xff")
    os.mkfifo(volume / "pipe")
    assert read_beneath(volume, "app.env") == FILE
    assert read_beneath(volume, "/app.env") == FILE
    assert read_beneath(volume, "none") is None
    assert read_beneath(tmp_path / "gone", "app.env") is None
    for path in ("out", "../secret", "long", "odd", "pipe", "."):
        with pytest.raises(EnvFileError):
            read_beneath(volume, path)
