"""What a volume shows is replaced as a whole, and left alone when nothing changed."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from volume_node import files_below

from orch_agent.volumes import atomic
from orch_agent.volumes.payload import File
from orch_agent.volumes.protocol import VolumeError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def write(folder: Path, *, group: int | None = None, **files: str | tuple[str, int]) -> bool:
    pairs = {name.replace("__", "/"): value for name, value in files.items()}
    made = {
        path: File(value.encode()) if isinstance(value, str) else File(value[0].encode(), value[1])
        for path, value in pairs.items()
    }
    return atomic.write(folder, made, group, NOW)


def test_files_are_links_through_one_link(tmp_path: Path) -> None:
    assert write(tmp_path, colour="blue", deep__er="x")
    assert files_below(tmp_path) == {"colour": "blue", "deep/er": "x"}
    assert (tmp_path / "colour").readlink() == Path("..data/colour")
    assert (tmp_path / "deep").readlink() == Path("..data/deep")
    assert str((tmp_path / "..data").readlink()).startswith("..2026_01_01_00_00_00.")


def test_a_reader_who_holds_the_old_sees_all_of_it(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="1")
    held = os.open(tmp_path / "..data", os.O_RDONLY)
    opened = os.open("b", os.O_RDONLY, dir_fd=held)
    assert write(tmp_path, a="2", c="2")
    assert files_below(tmp_path) == {"a": "2", "c": "2"}
    assert os.read(opened, 10) == b"1"
    os.close(opened)
    os.close(held)
    assert len([each for each in tmp_path.iterdir() if each.name.startswith("..20")]) == 1


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    before = (tmp_path / "..data").readlink()
    assert not write(tmp_path, a="1")
    assert (tmp_path / "..data").readlink() == before
    assert write(tmp_path, a=("1", 0o600))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_an_empty_volume_is_an_empty_folder(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    assert write(tmp_path)
    assert files_below(tmp_path) == {}
    assert not write(tmp_path)


def test_what_a_broken_off_write_left_is_cleared_away(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    (tmp_path / "..2025_01_01_00_00_00.left").mkdir()
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    write(tmp_path, a="2")
    assert sorted(each.name for each in tmp_path.iterdir() if not each.name.startswith("..20")) == ["..data", "a"]
    assert len(list(tmp_path.iterdir())) == 3


def test_the_group_may_read_and_pass(tmp_path: Path) -> None:
    write(tmp_path, group=os.getegid(), a=("1", 0o400))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o440
    folder = (tmp_path / "..data").stat()
    assert (stat.S_IMODE(folder.st_mode) & 0o2755, folder.st_gid) == (0o2755, os.getegid())
    assert not write(tmp_path, group=os.getegid(), a=("1", 0o400))


def test_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    with pytest.raises(VolumeError, match="error writing payload"):
        write(tmp_path, a="2", a__b="3")
    assert files_below(tmp_path) == {"a": "1"}
    assert len([each for each in tmp_path.iterdir() if each.name.startswith("..20")]) == 1


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/etc/passwd", "must be relative path"),
        ("a/../../b", "must not contain '..'"),
        ("..data", "must not start with '..'"),
        ("", "must not be empty"),
        ("x" * 300, "filenames must be less than or equal to 255"),
        ("x/" * 2100, "must be less than or equal to 4096"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path, path: str, problem: str) -> None:
    with pytest.raises(VolumeError, match=problem):
        atomic.write(tmp_path, {path: File(b"x")}, None, NOW)
    assert list(tmp_path.iterdir()) == []
