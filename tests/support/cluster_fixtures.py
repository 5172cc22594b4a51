"""The local clusters that the tests of whole clusters share. Whatever a test leaves behind fails the session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import IMAGES, ROOT, LocalCluster, run


@pytest.fixture(scope="session")
def image_mirror() -> Path:
    """The storage of a registry with images built from packages; `make images` has usually made it already."""
    run(sys.executable, ROOT / "tools/images/build.py", "--store", IMAGES, timeout=600)
    return IMAGES / "registry"


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalCluster]]:
    """Make clusters that are down; whatever is up in the end is stopped and its folder removed."""
    made: list[LocalCluster] = []

    def make(**options: Any) -> LocalCluster:
        cluster = LocalCluster(tmp_path_factory.mktemp("cluster"), **options)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.down("--purge")
    assert [found for cluster in made for found in cluster.traces().values() if found] == []


@pytest.fixture(scope="session")
def simulated(clusters: Callable[..., LocalCluster]) -> LocalCluster:
    """A running cluster of three simulated nodes, shared by all tests: each keeps to a namespace of its own."""
    cluster = clusters(nodes=3, runtime="simulated")
    cluster.up()
    return cluster


@pytest.fixture(scope="session")
def podman(clusters: Callable[..., LocalCluster], image_mirror: Path) -> LocalCluster:
    """A running cluster of two Podman nodes, shared by all tests: each keeps to a namespace of its own."""
    cluster = clusters(nodes=2, runtime="podman", mirror=image_mirror)
    cluster.up()
    return cluster


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Callable[[LocalCluster], str]:
    """Make a namespace in a cluster, named after the test, and delete it afterwards."""
    made: list[tuple[LocalCluster, str]] = []

    def make(cluster: LocalCluster) -> str:
        name = f"t-{abs(hash(request.node.nodeid)):x}"
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        made.append((cluster, name))
        return name

    yield make
    for cluster, name in made:
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
