"""`orch etcd-users`: gives an etcd a user and a role for each of orch's services, and has it serve nobody else.

`orch up` does this by itself at every start, and deploy/compose by a container that ends. Who runs an etcd of his own
runs it once, and again after an upgrade of orch; what is there already is left alone.

    etcd-users.yaml     etcd: {endpoints: [https://etcd:2379], ca_file: ca.crt, cert_file: root.crt, key_file: root.key}

The certificate is one of etcd's own authority whose common name is `root`. Those of the services say
`system:apiserver`, `system:kube-scheduler` and `system:kube-controller-manager`.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from orch import config
from orch.config import EtcdConfig
from orch.runtime.service import settle_store
from orch_cli.identities import ETCD_ROLES


def add_etcd_users(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `orch etcd-users`."""
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="how the user root reaches etcd")
    command.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for etcd",
    )


def etcd_users(parsed: argparse.Namespace) -> int:
    """Give etcd its users. Raises OrchError."""
    file: Path = parsed.config
    settings = config.decode(EtcdConfig, config.read_tree(file).get("etcd"), f"{file}: etcd")
    changes = asyncio.run(settle_store(settings, ETCD_ROLES, timeout=parsed.timeout))
    print(f"{'Changed' if changes else 'Kept'} etcd's users: root, {', '.join(ETCD_ROLES)}")
    return 0
