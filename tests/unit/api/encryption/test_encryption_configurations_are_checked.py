"""An EncryptionConfiguration is refused with the path of what is wrong in it, and no word of its keys."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from encryption_files import IDENTITY, aesgcm, document, kms, put, secret, secretbox

from orch.errors import ConfigError
from orch.store.keys import resource_prefix
from orch_api.encryption.configuration import read_configuration

KMS = kms("unix:///run/kms.sock")
GOOD = document(aesgcm("a", "b"), secretbox("c"), KMS, IDENTITY, resources=("secrets", "configmaps", "*.apps", "*.*"))


def wrong(*path: str | int, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(GOOD)
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


PROVIDERS = ("resources", 0, "providers")
KEY = (*PROVIDERS, 0, "aesgcm", "keys", 0)


def test_a_good_one(tmp_path: Path) -> None:
    found = read_configuration(put(tmp_path / "e.yaml", GOOD))
    assert [len(entry.providers) for entry in found.resources] == [4]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (wrong("kind", value="Encryption"), "kind: invalid enum value"),
        (wrong("resources", value=[]), "resources: at least one resources is required"),
        (wrong("resources", 0, "resources", value=[]), "resources[0].resources: at least one"),
        (wrong("resources", 0, "resources", value=["secrets", "secrets"]), "resources[0].resources[1]: duplicate"),
        (wrong("resources", 0, "resources", value=["*"]), "resources[0].resources[0]: '*' is no resource"),
        (wrong("resources", 0, "resources", value=["Secrets"]), "'Secrets' is no resource"),
        (wrong("resources", 0, "resources", value=["events.events.k8s.io"]), "Use 'events' instead"),
        (wrong("resources", 0, "providers", value=[]), "resources[0].providers: at least one"),
        (wrong(*PROVIDERS, 0, value={}), "resources[0].providers[0]: provider does not contain any"),
        (wrong(*PROVIDERS, 0, "identity", value={}), "resources[0].providers[0]: more than one provider"),
        (wrong(*PROVIDERS, 0, value={"aescbc": {"keys": []}}), "resources[0].providers[0].aescbc: does not authen"),
        (wrong(*PROVIDERS, 0, value={"rot13": {}}), "resources[0].providers[0].rot13: unknown key"),
        (wrong(*KEY, "name", value=""), "resources[0].providers[0].aesgcm.keys[0].name: name is a mandatory field"),
        (wrong(*KEY, "name", value="b"), "resources[0].providers[0].aesgcm.keys[1].name: duplicate key name b"),
        (wrong(*KEY, "secret", value=""), "keys[0].secret: secret is a mandatory field"),
        (wrong(*KEY, "secret", value="pl@in"), "keys[0].secret: secrets must be base64 encoded"),
        (wrong(*KEY, "secret", value=secret(20)), "keys[0].secret: secret is not of the expected length, got 20"),
        (wrong(*PROVIDERS, 1, "secretbox", "keys", 0, "secret", value=secret(16)), "expected one of [32]"),
        (wrong(*PROVIDERS, 2, "kms", "apiVersion", value="v1"), "kms.apiVersion: unsupported apiVersion v1"),
        (wrong(*PROVIDERS, 2, "kms", "name", value="a:b"), "kms.name: invalid KMS provider name a:b"),
        (wrong(*PROVIDERS, 2, "kms", "endpoint", value="tcp://a"), 'kms.endpoint: unsupported scheme "tcp"'),
        (wrong(*PROVIDERS, 2, "kms", "timeout", value="0s"), "kms.timeout: should be a positive value"),
        (wrong(*PROVIDERS, 3, value=KMS), "duplicate KMS provider name vault"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, content: dict[str, Any], problem: str) -> None:
    file = put(tmp_path / "e.yaml", content)
    with pytest.raises(ConfigError) as caught:
        read_configuration(file)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(file))
    for key in ("pl@in", GOOD["resources"][0]["providers"][0]["aesgcm"]["keys"][1]["secret"]):
        assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("secrets", b"/orch/objects/core/secrets/"),
        ("jobs.batch", b"/orch/objects/batch/jobs/"),
        ("*.apps", b"/orch/objects/apps/"),
        ("*.", b"/orch/objects/core/"),
        ("*.*", b"/orch/objects/"),
    ],
)
def test_names_of_resources_are_places_in_the_store(name: str, prefix: bytes) -> None:
    assert resource_prefix(name) == prefix
