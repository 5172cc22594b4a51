"""The local clusters that the tests of whole clusters share. Whatever a test leaves behind fails the session."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leaks import assert_nothing_is_left
from local_cluster import CLIENTS, IMAGES, ROOT, LocalCluster, run

_BUILD = pytest.StashKey[subprocess.Popen[str]]()
_PODMAN = pytest.StashKey[LocalCluster]()


@pytest.fixture(scope="session")
def image_mirror() -> Path:
    """The storage of a registry with images built from packages; `make images` has usually made it already."""
    run(sys.executable, ROOT / "tools/images/build.py", "--store", IMAGES, timeout=600)
    return IMAGES / "registry"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build the images of deploy/compose, if a test will want them: others run meanwhile."""
    wanted = any("service_images" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        command = (sys.executable, ROOT / "tools/images/services.py", "--store", IMAGES)
        session.stash[_BUILD] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Do not leave the build behind when the session ended without it."""
    build = session.stash.get(_BUILD, None)
    if build is not None and build.returncode is None:
        build.terminate()
        build.communicate(timeout=60)


@pytest.fixture(scope="session")
def service_images(request: pytest.FixtureRequest) -> Path:
    """A store with the images of deploy/compose."""
    build = request.session.stash[_BUILD]
    said, _ = build.communicate(timeout=540)
    assert build.returncode == 0, said
    return IMAGES / "services"


@pytest.fixture(scope="session")
def client_programs() -> Path:
    """A folder with Helm (`helm`) and an older kubectl (`kubectl-debian`); `make clients` has usually fetched them."""
    run(sys.executable, ROOT / "tools/clients.py", "--store", CLIENTS, timeout=600)
    return CLIENTS


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
        cluster.commitments.close()
    assert [problem for cluster in made for problem in cluster.commitments.problems] == []
    assert [found for cluster in made for found in cluster.traces().values() if found] == []


@pytest.fixture(scope="session")
def simulated(clusters: Callable[..., LocalCluster]) -> LocalCluster:
    """A running cluster of three simulated nodes, shared by all tests: each keeps to a namespace of its own."""
    cluster = clusters(nodes=3, runtime="simulated")
    cluster.up()
    return cluster


@pytest.fixture(scope="session")
def podman(request: pytest.FixtureRequest, clusters: Callable[..., LocalCluster], image_mirror: Path) -> LocalCluster:
    """A running cluster of two Podman nodes, shared by all tests: each keeps to a namespace of its own."""
    graces = {"GRACE_PERIOD": "10s", "GRACE_PERIOD_CRITICAL_PODS": "5s"}
    settings = {f"ORCH_AGENT_SHUTDOWN__{name}": seconds for name, seconds in graces.items()}
    cluster = clusters(nodes=2, runtime="podman", mirror=image_mirror, settings=settings)
    cluster.up()
    request.session.stash[_PODMAN] = cluster
    return cluster


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail after a module whose tests ran pods on the shared Podman nodes, if those hold what belongs to no pod."""
    yield
    cluster = request.session.stash.get(_PODMAN, None)
    if cluster is not None and any(_uses_podman(item, request.path) for item in request.session.items):
        assert_nothing_is_left(cluster)


def _uses_podman(item: pytest.Item, module: Path) -> bool:
    return item.path == module and "podman" in getattr(item, "fixturenames", ())


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
