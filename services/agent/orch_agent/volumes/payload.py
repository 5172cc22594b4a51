"""What files a volume shows: keys of an object by the volume's items, with their modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from orch.objects.volumes import KeyToPath
from orch_agent.volumes.protocol import VolumeError

DEFAULT_MODE: Final = 0o644
_LONGEST_PATH: Final = 4096
_LONGEST_NAME: Final = 255


class File(msgspec.Struct, frozen=True):
    """A file's content and mode; `owner` is its user, None for root."""

    data: bytes
    mode: int = DEFAULT_MODE
    owner: int | None = None


def files_of(
    values: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, *, optional: bool, missing: str
) -> dict[str, File]:
    """Return the files that show `values` by path. Raises VolumeError, beginning with `missing`, for an absent key."""
    if not items:
        return {key: File(data, mode) for key, data in values.items()}
    files: dict[str, File] = {}
    for item in items:
        if item.key in values:
            files[item.path] = File(values[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise VolumeError(f"{missing}: {item.key}")
    return files


def check_paths(files: Mapping[str, File]) -> None:
    """Refuse what would be written elsewhere, as the api did before. Raises VolumeError worded as kubelet."""
    for path in files:
        parts = path.split("/")
        if not path:
            raise VolumeError('invalid path: must not be empty: ""')
        if path.startswith("/"):
            raise VolumeError(f"invalid path: must be relative path: {path}")
        if len(path) > _LONGEST_PATH:
            raise VolumeError(f"invalid path: must be less than or equal to {_LONGEST_PATH} characters")
        if ".." in parts:
            raise VolumeError(f"invalid path: must not contain '..': {path}")
        if any(len(part.encode()) > _LONGEST_NAME for part in parts):
            raise VolumeError(f"invalid path: filenames must be less than or equal to {_LONGEST_NAME} characters")
        if path.startswith(".."):
            raise VolumeError(f"invalid path: must not start with '..': {path}")
