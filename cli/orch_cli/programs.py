"""The programs that a cluster is made of, each with the arguments or the file that configures it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import yaml

from orch.bus import server
from orch.errors import ConfigError
from orch_cli.pki import KeyPair, write_private
from orch_cli.process import Program

STORES: Final = 0
NODE_RUNTIMES: Final = 1
APIS: Final = 2
LOOPS: Final = 3
AGENTS: Final = 4
"""The stages: programs of a higher one are stopped before those of a lower one."""

NATS: Final = "nats"

_SHARING: Final = {"GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2))}
"""etcd and NATS share the machine with everything else; on every core at once, Go's threads mostly wake one another."""


def etcd(
    data: Path, *, client_port: int, peer_port: int, pair: KeyPair, peer: KeyPair, log_level: str = "warn"
) -> Program:
    """Return a lone etcd on 127.0.0.1 that admits only clients with a certificate of its own authority."""
    client_url, peer_url = f"https://127.0.0.1:{client_port}", f"https://127.0.0.1:{peer_port}"
    flags = {
        "name": "orch",
        "data-dir": str(data),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"orch={peer_url}",
        **_tls_flags("", pair),
        **_tls_flags("peer-", peer),
        # A lone member need not wait long for others' votes: it serves 1.7 s sooner after a restart.
        "heartbeat-interval": "20",
        "election-timeout": "200",
        "quota-backend-bytes": str(8 << 30),
        "enable-grpc-gateway": "false",
        "logger": "zap",
        "log-level": log_level,
    }
    return Program(
        name="etcd",
        argv=(executable("etcd"), *(f"--{name}={value}" for name, value in flags.items())),
        stage=STORES,
        environ=_SHARING,
    )


def nats(config_file: Path, data: Path, *, address: str, pair: KeyPair, users: Sequence[server.User]) -> Program:
    """Write the configuration of a NATS server that admits `users` alone, and return the program that runs it."""
    write_private(config_file, nats_config(data, address=address, pair=pair, users=users))
    argv = (str(server.binary()), "--config", str(config_file))
    return Program(name=NATS, argv=argv, stage=STORES, environ=_SHARING)


def nats_config(data: Path, *, address: str, pair: KeyPair, users: Sequence[server.User]) -> bytes:
    """Return the configuration of a NATS server that admits `users` alone."""
    host, _, port = address.rpartition(":")
    settings = server.ServerSettings(
        host=host,
        port=int(port),
        store_dir=str(data),
        users=tuple(users),
        tls=server.Tls(ca_file=str(pair.authority), cert_file=str(pair.certificate), key_file=str(pair.key)),
    )
    return server.render_config(settings).encode()


def service(name: str, stage: int, config_file: Path, config: object) -> Program:
    """Write a service's configuration and return the program that runs it; `name` is without the leading orch-."""
    write_yaml(config_file, config)
    return Program(name=name, argv=(executable(f"orch-{name}"), "--config", str(config_file)), stage=stage)


def write_yaml(path: Path, content: object) -> None:
    """Write settings to a file that only its owner can read."""
    write_private(path, yaml.safe_dump(msgspec.to_builtins(content), sort_keys=False).encode())


def executable(name: str) -> str:
    """Return the path of a program: beside this interpreter, else on PATH. Raises ConfigError when there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise ConfigError(name, "is not installed; `make setup` installs what is missing")
    return found


def _tls_flags(prefix: str, pair: KeyPair) -> dict[str, str]:
    return {
        f"{prefix}client-cert-auth": "true",
        f"{prefix}trusted-ca-file": str(pair.authority),
        f"{prefix}cert-file": str(pair.certificate),
        f"{prefix}key-file": str(pair.key),
    }
