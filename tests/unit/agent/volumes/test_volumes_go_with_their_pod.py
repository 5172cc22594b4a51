"""What is left of a pod is found and removed, and what a volume only shows is never removed with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from volume_node import VolumeNode, files_below

from orch_agent.volumes.mounts import SystemMounts, remove_tree
from orch_agent.volumes.protocol import VolumeError


async def everything(node: VolumeNode, tmp_path: Path) -> Path:
    """Set up a pod with volumes of many kinds; return a folder of the node that it shows."""
    (tmp_path / "host/kept").mkdir(parents=True)
    node.api.secret("keys", token="s3cret")
    node.layers = {"tools:1": ("/layers/top", "/layers/base")}
    mounts = [
        {"name": "data", "mountPath": "/data"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "keys", "mountPath": "/keys"},
        {"name": "host", "mountPath": "/host", "subPath": "kept"},
        {"name": "tools", "mountPath": "/tools"},
    ]
    pod = node.pod(
        {"name": "data", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "host", "hostPath": {"path": str(tmp_path / "host")}},
        {"name": "tools", "image": {"reference": "tools:1"}},
        mounts=mounts,
    )
    await node.mounts(pod)
    return tmp_path / "host"


async def test_nothing_is_left(node: VolumeNode, tmp_path: Path) -> None:
    host = await everything(node, tmp_path)
    memory = node.folder / "memory"
    kinds = sorted(what.split(" ")[0] for what, _ in node.kernel.made)
    assert kinds == ["overlay", "rw", "tmpfs", "tmpfs"]
    assert (node.volumes.images(), node.news) == ({"tools:1"}, ['Pulling image "tools:1"'])
    await node.volumes.remove("u1")
    assert [target for _, target in node.kernel.made] == [memory]
    assert (list(memory.iterdir()), list((node.folder / "disk").iterdir())) == ([], [])
    assert (host / "kept").is_dir()
    assert (node.volumes.followed(), await node.volumes.usage("u1"), node.volumes.images()) == ({}, (), frozenset())
    await node.volumes.remove("u1")


async def test_another_process_finds_what_is_there(node: VolumeNode, tmp_path: Path) -> None:
    await everything(node, tmp_path)
    made = list(node.kernel.made)
    volumes = node.started_again()
    assert await volumes.owners() == ["u1"]
    pod = node.pod(
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "tools", "image": {"reference": "tools:1"}},
    )
    assert await volumes.prepare(pod) is None
    assert node.kernel.made == made  # nothing is mounted twice
    assert volumes.images() == {"tools:1"}
    await node.started_again().remove("u1")
    assert await node.volumes.owners() == []


async def test_what_stays_mounted_keeps_everything(node: VolumeNode, tmp_path: Path) -> None:
    host = await everything(node, tmp_path)
    (place,) = (target for what, target in node.kernel.made if what.endswith("/host/kept"))
    node.kernel.stuck.add(place)
    with pytest.raises(VolumeError, match="is still mounted"):
        await node.volumes.remove("u1")
    assert (place.exists(), (host / "kept").is_dir(), await node.volumes.owners()) == (True, True, ["u1"])
    node.kernel.stuck.clear()
    await node.volumes.remove("u1")
    assert await node.volumes.owners() == []


async def test_secrets_are_kept_in_memory_alone(node: VolumeNode, tmp_path: Path) -> None:
    await everything(node, tmp_path)
    memory = node.folder / "memory"
    assert ("tmpfs 0 700", memory) in node.kernel.made
    holders = [
        path
        for path in node.folder.rglob("*")
        if path.is_file() and not path.is_symlink() and b"s3cret" in path.read_bytes()
    ]
    assert [path.is_relative_to(memory) for path in holders] == [True]
    assert "s3cret" not in repr(node.events)


def test_parts_that_know_no_mounts_are_removed_as_they_are(tmp_path: Path) -> None:
    remove_tree(SystemMounts(), tmp_path / "none")
    (tmp_path / "some/deep").mkdir(parents=True)
    (tmp_path / "some/link").symlink_to("/etc")
    remove_tree(SystemMounts(), tmp_path / "some")
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/passwd").exists()


async def test_what_a_container_sees(node: VolumeNode) -> None:
    node.api.config_map("app", a="1")
    mounts = [
        {"name": "settings", "mountPath": "/etc/app"},
        {"name": "data", "mountPath": "relative", "readOnly": True},
        {"name": "data", "mountPath": "/both", "mountPropagation": "Bidirectional"},
        {"name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer"},
        {"name": "host", "mountPath": "/sealed", "readOnly": True, "recursiveReadOnly": "Enabled"},
        {"name": "image", "mountPath": "/image", "subPath": "bin"},
    ]
    node.layers = {"tools:1": ("/layers/top",)}
    pod = node.pod(
        {"name": "settings", "configMap": {"name": "app"}},
        {"name": "data", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": "/tmp"}},
        {"name": "image", "image": {"reference": "tools:1"}},
        mounts=mounts[:-1],
    )
    settings, data, both, host, sealed = await node.mounts(pod)
    assert files_below(Path(settings.source)) == {"a": "1"}
    assert (settings.read_only, settings.propagation) == (True, "private")
    assert (data.target, data.read_only, data.propagation) == ("/relative", True, "private")
    assert (both.read_only, both.propagation) == (False, "shared")
    assert node.kernel.shared == [Path(both.source)]
    assert (host.source, host.propagation) == ("/tmp", "slave")
    assert (sealed.read_only, ("ro /tmp", Path(sealed.source)) in node.kernel.made) == (True, True)


async def test_images_that_the_runtime_mounts_are_left_to_it(node: VolumeNode) -> None:
    class Plain:
        """A runtime that shows nobody its layers."""

        find_image = node.find_image

    node.runtime = Plain()  # type: ignore[assignment] - a runtime as the volumes see it
    node.started_again()
    pod = node.pod(
        {"name": "tools", "image": {"reference": "tools:1"}},
        mounts=[{"name": "tools", "mountPath": "/tools", "subPath": "bin"}],
    )
    (mount,) = await node.mounts(pod)
    assert (mount.image, mount.image_path, mount.read_only, mount.target) == ("tools:1", "bin", True, "/tools")


async def test_sizes_are_measured(node: VolumeNode) -> None:
    node.api.secret("keys", token="s3cret")
    pod = node.pod(
        {"name": "data", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "host", "hostPath": {"path": "/tmp"}},
    )
    path = await node.shown(pod, "data")
    (path / "deep").mkdir()
    (path / "deep/big").write_bytes(b"x" * 50_000)
    os.link(path / "deep/big", path / "again")
    (path / "out").symlink_to("/")
    found = {each.name: each for each in await node.volumes.usage("u1")}
    assert set(found) == {"data", "memory", "keys"}
    assert 50_000 <= found["data"].bytes <= 70_000
    assert (found["data"].files, found["data"].limit, found["data"].medium) == (4, 1 << 20, "")
    assert (found["memory"].medium, found["keys"].medium, found["keys"].limit) == ("Memory", "Memory", 0)
