"""As whom a container's first process was started: Podman tells names, the runtime's own settings tell numbers."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from orch.objects.pods import LinuxContainerUser
from orch_agent.runtimes.podman.connection import Document

_REMEMBERED: Final = 1024


class _User(msgspec.Struct, rename="camel"):
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()


class _Process(msgspec.Struct):
    user: _User = msgspec.field(default_factory=_User)


class _Settings(msgspec.Struct):
    """A container's config.json, of the OCI's runtime specification."""

    process: _Process = msgspec.field(default_factory=_Process)


_DECODER: Final = msgspec.json.Decoder(_Settings)


def first_user(document: Document) -> LinuxContainerUser | None:
    """Return user and groups of a container that was looked at; None when it never ran or its settings are gone."""
    path = str(document.get("OCIConfigPath") or "")
    if not path or str(document["State"].get("StartedAt", "")).startswith("0001-"):
        return None
    try:
        return _read(path)
    except (OSError, msgspec.DecodeError):
        return None  # it is being removed: nobody will ask what it was


@lru_cache(_REMEMBERED)
def _read(path: str) -> LinuxContainerUser:
    """Return what a file says; it is written once, and the container's id is part of its name."""
    user = _DECODER.decode(Path(path).read_bytes()).process.user
    return LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.additional_gids)
