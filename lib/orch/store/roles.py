"""Which keys each service may read and write in etcd: the permissions of etcd's own users.

    api           reads everything, since its cache watches everything and its writes look at leaders' keys;
                  writes all of /orch/ except what is another's
    scheduler     its lease, and the turn to bind that a cluster's schedulers pass on
    controllers   their lease

Whoever may ask for the revision may read the one key that stands for it, which nobody writes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from orch.store import keys

ROOT: Final = "root"
"""etcd's own name for the user, and for the role, that may everything: users are made by it, and backups."""


class Permission(msgspec.Struct, frozen=True, order=True):
    r"""Keys from `start` up to `end`, that one left out; an empty `end`: the one key; b"\0": all that follow."""

    start: bytes
    end: bytes
    write: bool = False
    """Whether the keys may be written as well as read."""


class Role(msgspec.Struct, frozen=True):
    """What a kind of service may do."""

    name: str
    permissions: tuple[Permission, ...]


def scheduler() -> Role:
    """Return the role of schedulers, whose keys all begin with their component's name."""
    return Role("scheduler", (_prefix(keys.leader_key("scheduler")), _REVISION))


def controllers() -> Role:
    """Return the role of the controllers."""
    return Role("controllers", (_prefix(keys.leader_key("controllers")), _REVISION))


def api() -> Role:
    """Return the role of the api: a component of it that is elected one day needs no other role."""
    others = sorted(
        permission for role in (scheduler(), controllers()) for permission in role.permissions if permission.write
    )
    own: list[Permission] = []
    start = keys.ROOT
    for other in others:
        own.append(Permission(start, other.start, write=True))
        start = other.end
    own.append(Permission(start, keys.prefix_end(keys.ROOT), write=True))
    return Role("api", (Permission(*keys.EVERYTHING), *own))


_REVISION: Final = Permission(keys.REVISION, b"")


def _prefix(prefix: bytes) -> Permission:
    return Permission(prefix, keys.prefix_end(prefix), write=True)
