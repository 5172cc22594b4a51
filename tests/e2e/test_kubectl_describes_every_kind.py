"""`kubectl get` and `kubectl describe` of every kind that the api serves and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from local_cluster import LocalCluster
from space import Space

_SAMPLES = Path(__file__).parents[1] / "support/samples"
_NAME = "sample-described"
_APART = frozenset({"Node", "APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"})
"""Kinds whose samples would change how the cluster works for whoever else uses it."""


def samples() -> list[dict[str, Any]]:
    """Return the samples of the kinds of which there are objects; what is asked, and not kept, has no spec to show."""
    documents = [one for file in sorted(_SAMPLES.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]
    return [one for one in documents if "name" in one.get("metadata", {}) and one["kind"] not in _APART]


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    simulated.kubectl("create", "namespace", "described")
    yield Space(simulated, "described")
    simulated.kubectl("delete", "namespace", "described", "--wait=false")


def _lines(output: str) -> list[str]:
    """Return the lines about objects: kinds that are deprecated, as Endpoints are, are pointed out between them."""
    return [line for line in output.splitlines() if line and not line.startswith("Warning: ")]


def test_every_kind_is_described(space: Space) -> None:
    # Both versions of an autoscaler are one object.
    wanted = {(one["kind"], one["metadata"]["name"]): one for one in samples()}
    for one in wanted.values():
        if one["kind"] == "Event":
            reference = "involvedObject" if "involvedObject" in one else "regarding"
            one[reference]["namespace"] = space.name
    manifest = yaml.safe_dump_all(wanted.values())
    try:
        created = _lines(space.kubectl("create", "-f", "-", stdin=manifest))
        assert len(created) == len(wanted)
        shown = space.kubectl("get", "-f", "-", "--show-kind", "--no-headers", stdin=manifest)
        assert len(_lines(shown)) == len(wanted)
        code, said = space.code("describe", "-f", "-", stdin=manifest)
        assert code == 0, said[-2000:]
        assert said.count("\nName: ") + said.startswith("Name: ") >= len(wanted)
    finally:
        space.kubectl("delete", "-f", "-", "--ignore-not-found", "--wait=false", stdin=manifest)
