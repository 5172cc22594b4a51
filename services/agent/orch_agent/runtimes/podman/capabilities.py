"""Capabilities as Kubernetes has them: what containers start with, plus what is added, minus what is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_ALL: Final = "ALL"
DEFAULT: Final = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
"""Those of containerd, which Kubernetes' documentation assumes; Podman's own are fewer."""


def changes(added: Iterable[str], dropped: Iterable[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return what is to be asked of Podman as (cap_add, cap_drop), given that containers start with DEFAULT.

    ALL comes first, then single names; what is added and dropped is dropped. Podman refuses a name in both lists.
    """
    add, drop = {_plain(name) for name in added}, {_plain(name) for name in dropped}
    if _ALL in add and _ALL not in drop:
        return [_ALL], _spelled(drop)
    if _ALL in drop:
        return _spelled(add - drop), [_ALL]
    return _spelled(add - drop - set(DEFAULT)), _spelled(drop)


def _plain(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _spelled(names: Iterable[str]) -> list[str]:
    return [f"CAP_{name}" for name in sorted(names) if name != _ALL]
