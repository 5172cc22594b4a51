"""Parts of volumes: links are followed inside of the volume, and never out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from volume_node import VolumeNode, WrittenMounts

from orch_agent.pods.environment import ConfigurationError
from orch_agent.volumes.protocol import VolumeError
from orch_agent.volumes.sub_paths import bind_sub_path, open_sub_path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    (folder / "data").mkdir(parents=True)
    (folder / "data/file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    return folder


def opened(volume: Path, path: str) -> str:
    found = open_sub_path(volume, path)
    try:
        return str(Path(f"/proc/self/fd/{found}").readlink())
    finally:
        os.close(found)


def test_links_inside_are_followed(volume: Path) -> None:
    (volume / "link").symlink_to("data/../data/file")
    assert opened(volume, "link") == str(volume / "data/file")
    assert opened(volume, "data") == str(volume / "data")
    assert opened(volume, "./data//file") == str(volume / "data/file")
    assert opened(volume, "") == str(volume)


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "..", "/", "data/../../secret", "/proc/self/root/etc"])
def test_links_that_lead_out_are_refused(volume: Path, target: str) -> None:
    (volume / "link").symlink_to(target)
    with pytest.raises(VolumeError, match=r'subpath "link" not within volume path'):
        open_sub_path(volume, "link")
    with pytest.raises((VolumeError, OSError)):
        open_sub_path(volume, "link/new")
    assert sorted(each.name for each in volume.parent.iterdir()) == ["secret", "volume"]


def test_loops_are_refused(volume: Path) -> None:
    (volume / "a").symlink_to("b")
    (volume / "b").symlink_to("a")
    with pytest.raises(VolumeError):
        open_sub_path(volume, "a")


def test_missing_folders_are_made_with_the_mode_of_the_volume(volume: Path) -> None:
    volume.chmod(0o2775)
    assert opened(volume, "new/deeper") == str(volume / "new/deeper")
    for name in ("new", "new/deeper"):
        assert stat.S_IMODE((volume / name).stat().st_mode) == 0o2775
    (volume / "data/inner").symlink_to("../new")
    assert opened(volume, "data/inner/more") == str(volume / "new/more")


def test_a_link_to_nothing_is_not_replaced(volume: Path) -> None:
    (volume / "dangling").symlink_to("nowhere")
    with pytest.raises(OSError, match="exists"):
        open_sub_path(volume, "dangling")


def test_a_part_is_bound_anew_each_time(volume: Path, tmp_path: Path) -> None:
    mounts, target = WrittenMounts(), tmp_path / "pod/0"
    bind_sub_path(mounts, volume, "data/file", target, read_only=False)
    assert (mounts.made, target.is_file()) == ([(f"rw {volume}/data/file", target)], True)
    bind_sub_path(mounts, volume, "data", target, read_only=True)
    assert (mounts.made, target.is_dir()) == ([(f"ro {volume}/data", target)], True)
    bind_sub_path(mounts, volume, "data/file", target, read_only=False)
    assert target.is_file()


async def test_expressions_take_the_containers_variables(node: VolumeNode) -> None:
    mounts = [{"name": "logs", "mountPath": "/logs", "subPathExpr": "$(POD)/$$x"}]
    pod = node.pod({"name": "logs", "emptyDir": {}}, mounts=mounts)
    (mount,) = await node.mounts(pod, POD="web-1")
    (made,) = (what for what, target in node.kernel.made if str(target) == mount.source)
    assert made.endswith("/logs/web-1/$x")
    with pytest.raises(ConfigurationError, match="missing value for POD"):
        await node.volumes.mounts(pod, pod.spec.containers[0], {"POD": ""})


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/abs", "error SubPath `/abs` must not be an absolute path"),
        ("a/../..", "unable to provision SubPath `a/../..`: must not contain '..'"),
        ("link", 'failed to prepare subPath for volumeMount "data" of container "web"'),
    ],
)
async def test_bad_paths_keep_the_container_from_being_made(node: VolumeNode, path: str, problem: str) -> None:
    pod = node.pod({"name": "data", "emptyDir": {}})
    (await node.shown(pod, "data") / "link").symlink_to("/etc")
    bad = node.pod(
        {"name": "data", "emptyDir": {}}, mounts=[{"name": "data", "mountPath": "/x", "subPathExpr": "$(P)"}]
    )
    with pytest.raises(ConfigurationError) as refused:
        await node.volumes.mounts(bad, bad.spec.containers[0], {"P": path})
    assert str(refused.value) == problem


async def test_a_volume_is_found_for_files_of_variables(node: VolumeNode) -> None:
    named = {"fileKeyRef": {"volumeName": "data", "path": "env", "key": "A"}}
    pod = node.pod(
        {"name": "data", "emptyDir": {}},
        containers=[{"name": "web", "env": [{"name": "A", "valueFrom": named}]}],
    )
    assert node.volumes.path("u1", "data") is None
    assert await node.volumes.prepare(pod) is None
    path = node.volumes.path("u1", "data")
    assert path is not None
    assert path.is_dir()
    assert (node.volumes.path("u1", "other"), node.volumes.path("u2", "data")) == (None, None)
