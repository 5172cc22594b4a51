"""Files of which a reader sees all of the old or all of the new: kubelet's atomic writer (pkg/volume/util).

    config.yaml ─▶ ..data/config.yaml
    ..data ─▶ ..2026_11_23_20_00_00.x7k2
    ..2026_11_23_20_00_00.x7k2/config.yaml

New files are written to a folder of their own; renaming a link over `..data` shows them all at once.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from orch_agent.volumes.ownership import mode_for_group
from orch_agent.volumes.payload import File, check_paths
from orch_agent.volumes.protocol import VolumeError

_DATA: Final = "..data"
_NEW_DATA: Final = "..data_tmp"
_FOLDER_MODE: Final = 0o755


def write(folder: Path, files: Mapping[str, File], group: int | None, now: datetime) -> bool:
    """Make `folder` show exactly `files`, owned by `group`; return whether anything had to change.

    Raises VolumeError; what was shown before is shown still.
    """
    check_paths(files)
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        current = _current(folder)
        if current is not None and _shows(folder, current, files, group):
            return False
        _replace(folder, files, group, now)
        _remove_stale(folder, files)
    except OSError as error:
        raise VolumeError(f"error writing payload: {error}") from error
    return True


def read(folder: Path, path: str) -> bytes | None:
    """Return the content of a file that `write` has shown, None if there is none."""
    try:
        return (folder / _DATA / path).read_bytes()
    except OSError:
        return None


def _current(folder: Path) -> Path | None:
    link = folder / _DATA
    return folder / link.readlink() if link.is_symlink() else None


def _shows(folder: Path, current: Path, files: Mapping[str, File], group: int | None) -> bool:
    found = {
        os.path.relpath(os.path.join(place, name), current)  # noqa: PTH118 - as os.walk has it
        for place, _, names in os.walk(current)
        for name in names
    }
    shown = {entry.name for entry in folder.iterdir() if not entry.name.startswith("..")}
    if found != set(files) or shown != _tops(files) or stat.S_IMODE(folder.stat().st_mode) != _folder_mode(group):
        return False
    return all(_is(current / path, file, group) for path, file in files.items())


def _is(path: Path, file: File, group: int | None) -> bool:
    found = path.stat()
    as_wanted = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_size) == (
        _file_mode(file, group),
        os.geteuid() if file.owner is None else file.owner,
        len(file.data),
    )
    return as_wanted and (group is None or found.st_gid == group) and path.read_bytes() == file.data


def _replace(folder: Path, files: Mapping[str, File], group: int | None, now: datetime) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=now.strftime("..%Y_%m_%d_%H_%M_%S."), dir=folder))
    try:
        for path, file in files.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
            os.chown(target, -1 if file.owner is None else file.owner, -1 if group is None else group)
            target.chmod(_file_mode(file, group))
        for place, _, _ in os.walk(fresh):
            _own(Path(place), group)
        _own(folder, group)
        link = folder / _NEW_DATA
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        # A link of a name that is new dangles until the next line, which shows all new files at once.
        for name in _tops(files):
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"{_DATA}/{name}")
        link.rename(folder / _DATA)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _remove_stale(folder: Path, files: Mapping[str, File]) -> None:
    """Remove links to what is no longer shown, and folders of earlier writes, also of one that was broken off."""
    keep = {*_tops(files), _DATA, os.fspath((folder / _DATA).readlink())}
    for entry in list(folder.iterdir()):
        if entry.name in keep:
            continue
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink()
        else:
            shutil.rmtree(entry)


def _tops(files: Mapping[str, File]) -> set[str]:
    return {path.partition("/")[0] for path in files}


def _own(folder: Path, group: int | None) -> None:
    if group is not None:
        os.chown(folder, -1, group)
    folder.chmod(_folder_mode(group))


def _folder_mode(group: int | None) -> int:
    return _FOLDER_MODE if group is None else mode_for_group(_FOLDER_MODE, folder=True, read_only=True)


def _file_mode(file: File, group: int | None) -> int:
    return file.mode if group is None else mode_for_group(file.mode, folder=False, read_only=True)
