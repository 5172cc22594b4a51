"""Paths of the node: each type is checked, some are made, in kubelet's words."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from orch.objects.volumes import HostPathSource
from orch_agent.volumes.host_path import check
from orch_agent.volumes.protocol import VolumeError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("folder")
    return tmp_path


RIGHT = {
    "Directory": ("folder", "link"),
    "DirectoryOrCreate": ("folder", "link"),
    "File": ("file",),
    "FileOrCreate": ("file",),
    "Socket": ("socket",),
    "CharDevice": (),
    "BlockDevice": (),
}
WORDS = {
    "Directory": "a directory",
    "DirectoryOrCreate": "a directory",
    "File": "a file",
    "FileOrCreate": "a file",
    "Socket": "a socket file",
    "CharDevice": "a character device",
    "BlockDevice": "a block device",
}


@pytest.mark.parametrize("kind", RIGHT)
def test_types_are_checked(place: Path, kind: str) -> None:
    for name in ("folder", "link", "file", "socket", "fifo"):
        path = str(place / name)
        if name in RIGHT[kind]:
            check(HostPathSource(path=path, type=kind))
            continue
        with pytest.raises(VolumeError) as refused:
            check(HostPathSource(path=path, type=kind))
        assert str(refused.value) == f"hostPath type check failed: {path} is not {WORDS[kind]}"


def test_devices_are_known() -> None:
    check(HostPathSource(path="/dev/null", type="CharDevice"))


@pytest.mark.parametrize("kind", ["Directory", "File", "Socket", "CharDevice", "BlockDevice"])
def test_what_is_not_there_is_refused(place: Path, kind: str) -> None:
    with pytest.raises(VolumeError, match=f"missing is not {WORDS[kind]}"):
        check(HostPathSource(path=str(place / "missing"), type=kind))
    assert not (place / "missing").exists()


def test_what_may_be_made_is_made(place: Path) -> None:
    before = os.umask(0o022)
    try:
        check(HostPathSource(path=str(place / "deep/er"), type="DirectoryOrCreate"))
        check(HostPathSource(path=str(place / "new"), type="FileOrCreate"))
        check(HostPathSource(path=str(place / "unsaid")))
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "deep/er").stat().st_mode) == 0o755
    assert (stat.S_IMODE((place / "new").stat().st_mode), (place / "new").is_file()) == (0o644, True)
    assert (place / "unsaid").is_dir()


def test_nothing_is_checked_without_a_type(place: Path) -> None:
    for name in ("folder", "file", "socket"):
        check(HostPathSource(path=str(place / name)))


def test_a_file_in_a_folder_that_is_missing_cannot_be_made(place: Path) -> None:
    with pytest.raises(VolumeError, match="No such file or directory"):
        check(HostPathSource(path=str(place / "no/file"), type="FileOrCreate"))


def test_a_way_back_is_refused() -> None:
    with pytest.raises(VolumeError, match=r"invalid HostPath `/a/../b`: must not contain '..'"):
        check(HostPathSource(path="/a/../b"))
