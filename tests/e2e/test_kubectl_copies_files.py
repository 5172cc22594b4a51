"""`kubectl cp` into a container and out of it; both ways are tar, run in the container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster import LocalCluster
from manifests import container, pod
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def space(podman: LocalCluster) -> Iterator[Space]:
    """A namespace with a pod that waits."""
    podman.kubectl("create", "namespace", "copies")
    made = Space(podman, "copies")
    made.apply(pod("keeper", container("trap 'exit 0' TERM; while :; do sleep 0.1; done")))
    made.running("keeper")
    yield made
    podman.kubectl("delete", "namespace", "copies", "--wait=false")


def test_a_folder_there_and_back(space: Space, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "plain").write_text("hello")
    # More than what is on its way at a time, and of all bytes.
    large = bytes(range(256)) * 16_384
    (source / "inner" / "large").write_bytes(large)
    space.kubectl("cp", str(source), "keeper:/there", "-c", "main")
    assert space.kubectl("exec", "keeper", "--", "cat", "/there/plain") == "hello"
    space.kubectl("cp", "keeper:/there", str(tmp_path / "back"))
    assert (tmp_path / "back/inner/large").read_bytes() == large
    assert (tmp_path / "back/plain").read_text() == "hello"


def test_one_file(space: Space, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    space.kubectl("cp", str(tmp_path / "one"), f"{space.name}/keeper:/renamed")
    space.kubectl("cp", "keeper:renamed", str(tmp_path / "two"))
    assert (tmp_path / "two").read_text() == "one"
    # What tar says of a file that is not there may come too late for kubectl to show it.
    space.kubectl("cp", "keeper:/none", str(tmp_path / "none"), check=False)
    assert not (tmp_path / "none").exists()
