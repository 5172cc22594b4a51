"""Which groups an image's own /etc/passwd and /etc/group give a user, read from the image's layers.

Podman itself looks there only while a container names no group. Kubernetes' rule is another: groups of the image count
whether or not a primary group is named (supplementalGroupsPolicy Merge), or not at all (Strict).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

_LONGEST: Final = 1 << 20
"""Bytes of a file that are read, at most: images come from anyone."""


class Account(msgspec.Struct, frozen=True):
    """A user of an image: numbers of its own, of its first group, and of further groups."""

    user: int
    group: int
    groups: tuple[int, ...] = ()


def account_of(layers: Sequence[Path], user: int | None, username: str) -> Account | None:
    """Return a user's account in the image with these layers, the topmost first; None for a name that is not there.

    A number that is not there is an account as well: its group is root's.
    """
    entries = [fields for fields in _entries(layers, "passwd", 4) if _matches(fields, user, username)]
    if not entries:
        return Account(user, 0) if user is not None else None
    name, number, group = entries[0][0], int(entries[0][2]), int(entries[0][3])
    groups = {int(fields[2]) for fields in _entries(layers, "group", 4) if name in fields[3].split(",")}
    return Account(number, group, tuple(sorted(groups - {group})))


def _matches(fields: Sequence[str], user: int | None, username: str) -> bool:
    if not (fields[2].isdecimal() and fields[3].isdecimal()):
        return False
    return int(fields[2]) == user if user is not None else fields[0] == username


def _entries(layers: Sequence[Path], name: str, least: int) -> Iterator[list[str]]:
    for line in _read(layers, name).splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least and (name == "passwd" or fields[2].isdecimal()):
            yield fields


def _read(layers: Sequence[Path], name: str) -> str:
    """Return /etc/<name> as containers see it: of the topmost layer that says anything of it. No link is followed."""
    for layer in layers:
        try:
            with contextlib.ExitStack() as stack:
                top = _opened(stack, str(layer), None)
                etc = _opened(stack, "etc", top)
                try:
                    found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=etc)
                except FileNotFoundError:
                    continue
                stack.callback(os.close, found)
                # A whiteout, which says that the layers below no longer count, is a device: nothing to read either.
                plain = stat.S_ISREG(os.fstat(found).st_mode)
                return os.read(found, _LONGEST).decode(errors="replace") if plain else ""
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return ""
    return ""


def _opened(stack: contextlib.ExitStack, name: str, folder: int | None) -> int:
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor
