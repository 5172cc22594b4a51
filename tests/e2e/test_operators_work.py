"""An operator of another framework and a kind of its own: it watches, adopts, sets the status, holds by finalizers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster

OPERATOR = Path(__file__).parents[1] / "support/clients/widgets.py"
_SIZE = {"type": "integer", "minimum": 1}
_SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {"size": _SIZE}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
_VERSION = {
    "name": "v1",
    "served": True,
    "storage": True,
    "subresources": {"status": {}},
    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    "schema": {"openAPIV3Schema": _SCHEMA},
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wdg"]},
        "versions": [_VERSION],
    },
}


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


@pytest.fixture
def operator(simulated: LocalCluster, space: str, tmp_path: Path) -> Iterator[Path]:
    """A running operator; yields its log."""
    simulated.apply(DEFINITION)
    simulated.kubectl("wait", "--for=condition=established", "crd/widgets.example.com", "--timeout=10s")
    log = tmp_path / "operator.log"
    with log.open("wb") as output:
        command = (sys.executable, "-m", "kopf", "run", OPERATOR, "--namespace", space, "--standalone")
        environ = {**os.environ, **simulated.environ}
        running = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environ)
    try:
        yield log
    finally:
        running.terminate()
        running.wait(timeout=20)
        simulated.kubectl("delete", "crd", "widgets.example.com", "--timeout=30s")


def test_an_operator_looks_after_its_objects(simulated: LocalCluster, space: str, operator: Path) -> None:
    def settings() -> Any:
        found = [one for one in simulated.get("-n", space, "configmaps") if one["metadata"]["name"] == "one"]
        return found[0] if found else None

    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 3}}
    simulated.apply({**widget, "metadata": {"name": "one", "namespace": space}})
    assert simulated.wait(settings, what=operator.read_text())["data"] == {"size": "3"}
    simulated.wait(lambda: simulated.get("-n", space, "wdg", "one")["status"]["create"] == {"settings": "one"})
    assert settings()["metadata"]["ownerReferences"][0]["kind"] == "Widget"
    table = simulated.kubectl("-n", space, "get", "widgets").split()
    assert table == ["NAME", "SIZE", "one", "3"]

    simulated.kubectl("-n", space, "patch", "widget", "one", "--type=merge", "-p", '{"spec":{"size":5}}')
    simulated.wait(lambda: settings()["data"] == {"size": "5"}, what=operator.read_text())

    simulated.kubectl("-n", space, "delete", "widget", "one", "--timeout=30s")
    names = [one["metadata"]["name"] for one in simulated.get("-n", space, "configmaps")]
    assert "one-was-here" in names, "the finalizer held the object until the operator was done"
    simulated.wait(lambda: settings() is None, what="garbage collection")
