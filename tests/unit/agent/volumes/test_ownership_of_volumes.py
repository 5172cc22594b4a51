"""What fsGroup does to files, and who owns a token."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from volume_node import VolumeNode

from orch_agent.volumes.ownership import ON_ROOT_MISMATCH, give_to_group, user_of

GROUP = os.getegid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "deep").mkdir(parents=True)
    (top / "deep/file").write_text("")
    (top / "link").symlink_to("/etc/passwd")
    top.chmod(0o700)
    (top / "deep/file").chmod(0o600)
    return top


def modes(folder: Path) -> tuple[int, int, int]:
    return tuple(stat.S_IMODE((folder / path).stat().st_mode) for path in (".", "deep", "deep/file"))  # type: ignore[return-value] - three of them


def test_everything_is_given_to_the_group(folder: Path) -> None:
    (folder / "deep").chmod(0o755)
    give_to_group(folder, GROUP)
    assert modes(folder) == (0o2770, 0o2775, 0o660)


def test_what_is_read_only_is_not_made_writable(folder: Path) -> None:
    (folder / "deep").chmod(0o700)
    give_to_group(folder, GROUP, read_only=True)
    assert modes(folder) == (0o2750, 0o2750, 0o640)


def test_without_a_group_nothing_is_touched(folder: Path) -> None:
    before = modes(folder)
    give_to_group(folder, None)
    assert modes(folder) == before


def test_on_root_mismatch_the_top_alone_is_looked_at(folder: Path) -> None:
    give_to_group(folder, GROUP)
    (folder / "deep/file").chmod(0o600)
    give_to_group(folder, GROUP, policy=ON_ROOT_MISMATCH)
    assert modes(folder)[2] == 0o600
    folder.chmod(0o700)
    give_to_group(folder, GROUP, policy=ON_ROOT_MISMATCH)
    assert modes(folder) == (0o2770, modes(folder)[1], 0o660)
    (folder / "deep/file").chmod(0o600)
    give_to_group(folder, GROUP, policy="Always")
    assert modes(folder)[2] == 0o660


@pytest.mark.parametrize(
    ("of_pod", "of_containers", "owner"),
    [
        ({"runAsUser": 7}, [{}, {}], 7),
        ({"runAsUser": 7}, [{"runAsUser": 8}, {"runAsUser": 8}], 8),
        ({"runAsUser": 7}, [{"runAsUser": 8}, {}], None),
        ({}, [{"runAsUser": 8}, {}], None),
        ({}, [{}, {}], None),
    ],
)
def test_the_owner_is_the_user_of_all_containers(
    node: VolumeNode, of_pod: Any, of_containers: list[Any], owner: int | None
) -> None:
    containers = [{"name": f"c{number}", "securityContext": each} for number, each in enumerate(of_containers)]
    assert user_of(node.pod(securityContext=of_pod, containers=containers)) == owner


async def test_an_empty_folder_is_the_groups_once(node: VolumeNode) -> None:
    pod = node.pod({"name": "data", "emptyDir": {}}, securityContext={"fsGroup": GROUP})
    path = await node.shown(pod, "data")
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o2777, GROUP)
    (path / "mine").write_text("kept")
    (path / "mine").chmod(0o600)
    node.started_again()
    assert await node.shown(pod, "data") == path
    assert stat.S_IMODE((path / "mine").stat().st_mode) == 0o600
