"""Nodes that joined: which key each has for the bus, as the api tells it to whoever configures the NATS server.

A node puts its public key into an annotation of its own Node object. The api keeps a file of these keys, and the
supervisor of the server gives each the permissions of its node; so a deleted Node is cut off. See docs/adr/0016.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from orch.bus import permissions
from orch.bus.server import User
from orch.errors import ConfigError

ANNOTATION: Final = "orch.dev/bus-key"
"""Of a Node: the public half of the key that it shows to the bus."""


def read_keys(file: Path) -> dict[str, str]:
    """Return the key of each node that a file names; no file names none. Raises ConfigError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(str(file), str(error)) from error


def encode_keys(keys: Mapping[str, str]) -> bytes:
    """Return the file's content."""
    return msgspec.json.encode(dict(sorted(keys.items())))


def users_of(keys: Mapping[str, str], others: Iterable[User]) -> list[User]:
    """Return `others` and the nodes with their permissions; a key that somebody else has already counts for him."""
    users = list(others)
    taken = {user.nkey for user in users}
    for node, key in sorted(keys.items()):
        if key not in taken:
            taken.add(key)
            name = f"{permissions.NODE_PREFIX}{node}"
            users.append(User(name=name, nkey=key, permissions=permissions.node(node)))
    return users
