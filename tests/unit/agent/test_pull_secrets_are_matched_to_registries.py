from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from orch.objects.cluster import Secret
from orch_agent.pods.keyring import Keyring, KeyringError, entries_of, merged
from orch_agent.runtimes.image_names import is_image_name, qualified, repository
from orch_agent.runtimes.protocol import Credentials


def encoded(content: str) -> str:
    return base64.b64encode(content.encode()).decode()


def config_json(auths: dict[str, Any]) -> Secret:
    content = json.dumps({"auths": auths, "credHelpers": {"gcr.io": "gcloud"}})
    return Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": encoded(content)})


def user(name: str) -> dict[str, str]:
    return {"auth": encoded(f"{name}:secret-of-{name}")}


def found(image: str, *locations: str) -> list[str]:
    auths = {location: user(f"user-{number}") for number, location in enumerate(locations)}
    chosen = Keyring(entries_of(config_json(auths))).lookup(repository(image))
    return [locations[int(each.username.removeprefix("user-"))] for each in chosen]


@pytest.mark.parametrize(
    ("image", "locations", "expected"),
    [
        ("registry.example/a/b:1", ("registry.example",), ["registry.example"]),
        ("registry.example/a/b:1", ("https://registry.example/v2/",), ["https://registry.example/v2/"]),
        ("registry.example/a/b:1", ("http://registry.example/",), ["http://registry.example/"]),
        ("registry.example/a/b:1", ("registry.example/c", "other.example"), []),
        (
            "registry.example/a/b@sha256:" + "0" * 64,
            ("registry.example", "registry.example/a/b", "registry.example/a"),
            ["registry.example/a/b", "registry.example/a", "registry.example"],
        ),
        ("registry.example:5000/a", ("registry.example", "registry.example:5000"), ["registry.example:5000"]),
        ("registry.example/a", ("registry.example:5000",), []),
        ("eu.registry.example/a", ("*.registry.example",), ["*.registry.example"]),
        ("eu.registry.example/a", ("*.example", "registry.example", "e*.registry.*"), ["e*.registry.*"]),
        ("nginx", ("https://index.docker.io/v1/",), ["https://index.docker.io/v1/"]),
        ("grafana/grafana:1", ("index.docker.io", "gcr.io"), ["index.docker.io"]),
        ("nginx", ("docker.io/library", "index.docker.io"), ["docker.io/library"]),
        ("registry.example/a", ("index.docker.io",), []),
    ],
)
def test_locations_fit_by_host_port_and_path(image: str, locations: tuple[str, ...], expected: list[str]) -> None:
    assert found(image, *locations) == expected


def test_both_types_are_read_and_auth_wins() -> None:
    old = Secret(
        type="kubernetes.io/dockercfg",
        data={
            ".dockercfg": encoded(json.dumps({"registry.example": {"username": "ana", "password": "x", "email": ""}}))
        },
    )
    both = config_json({"registry.example": {"username": "ben", "password": "y", **user("eve")}})
    keyring, problems = merged({"old": old, "both": both, "again": old})
    assert not problems
    assert keyring.lookup("registry.example/a") == [Credentials("ana", "x"), Credentials("eve", "secret-of-eve")]
    assert entries_of(Secret(type="Opaque", data={"a": "b"})) == []
    assert entries_of(Secret(type="kubernetes.io/dockerconfigjson")) == []


def test_auth_may_lack_its_padding_and_hold_colons() -> None:
    plain = encoded("robot$a:p:w").rstrip("=")
    assert entries_of(config_json({"r.example": {"auth": plain}})) == [("r.example", Credentials("robot$a", "p:w"))]


@pytest.mark.parametrize(
    "secret",
    [
        Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "no base64: hunter2"}),
        Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": encoded('{"auths": "hunter2"}')}),
        Secret(type="kubernetes.io/dockercfg", data={".dockercfg": encoded("hunter2")}),
        config_json({"r.example": {"auth": "hunter2!"}}),
        config_json({"r.example": {"auth": encoded("hunter2")}}),
    ],
)
def test_what_cannot_be_read_is_told_without_its_content(secret: Secret) -> None:
    with pytest.raises(KeyringError) as caught:
        entries_of(secret)
    assert "hunter2" not in str(caught.value)
    keyring, problems = merged({"broken": secret, "good": config_json({"r.example": user("ana")})})
    assert list(problems) == ["broken"]
    assert [each.username for each in keyring.lookup("r.example/a")] == ["ana"]


def test_credentials_do_not_show() -> None:
    assert "hunter2" not in f"{Credentials('ana', 'hunter2')} {Credentials('ana', 'hunter2')!r}"


def test_names_of_images() -> None:
    assert repository("nginx:1") == "docker.io/library/nginx"
    assert repository("docker.io/nginx") == "docker.io/library/nginx"
    assert repository("localhost:5000/a/b:1@sha256:0a") == "localhost:5000/a/b"
    assert qualified("docker.io/nginx") == "docker.io/library/nginx:latest"
    assert not is_image_name("nginx:1 ")
