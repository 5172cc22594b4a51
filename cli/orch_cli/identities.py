"""Who is who in a local cluster: one identity a service and a node, with a certificate and a key for the bus each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from orch.bus import permissions
from orch.bus.server import User
from orch.config import EtcdConfig, NatsConfig
from orch.store import roles
from orch.store.roles import Role
from orch_cli.nkey import user_key
from orch_cli.pki import Authority, KeyPair, Leaf, signing_key

LOOPBACK: Final = ("localhost", "127.0.0.1")
API_HOSTS: Final = (
    *LOOPBACK,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "10.96.0.1",
)

API: Final = "api"
SCHEDULER: Final = "scheduler"
CONTROLLERS: Final = "controllers"
ADMIN: Final = "admin"
WITNESS: Final = "witness"
"""As whom the controllers hear of connections to the bus that have ended."""
FLEET: Final = "fleet"
"""The one agent that plays all simulated nodes."""
_SERVICES: Final[Mapping[str, str]] = {
    API: permissions.API,
    SCHEDULER: permissions.SCHEDULER,
    CONTROLLERS: permissions.CONTROLLERS,
}

ETCD_ROLES: Final[Mapping[str, Role]] = {
    permissions.API: roles.api(),
    permissions.SCHEDULER: roles.scheduler(),
    permissions.CONTROLLERS: roles.controllers(),
}
"""etcd's users, known by the names in their certificates, and what each may do there."""


class ServerNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names and addresses that clients know the servers by; their certificates say them."""

    api: tuple[str, ...] = API_HOSTS
    nats: tuple[str, ...] = LOOPBACK
    etcd: tuple[str, ...] = LOOPBACK


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One client: its user name, its certificate for HTTPS and the bus, its key for the bus."""

    user: str
    pair: KeyPair
    seed_file: Path
    public_key: str

    def nats(self, address: str) -> NatsConfig:
        """Return how this identity reaches the bus that listens on `address`."""
        return NatsConfig(
            servers=(f"tls://{address}",),
            ca_file=str(self.pair.authority),
            cert_file=str(self.pair.certificate),
            key_file=str(self.pair.key),
            nkey_seed_file=str(self.seed_file),
            user=self.user,
        )


class Identities(msgspec.Struct, frozen=True, kw_only=True):
    """All certificates of a cluster. `clients` by file name: services, admin, fleet, each node by its name."""

    clients: Mapping[str, Identity]
    api_server: KeyPair
    nats_server: KeyPair
    etcd_server: KeyPair
    etcd_peer: KeyPair
    etcd_clients: Mapping[str, KeyPair]
    account_key: Path
    """Signs the tokens of service accounts."""

    def bus_users(self) -> list[User]:
        """Return who may connect to the bus, and what each may do there."""
        return [
            User(
                name=each.user,
                nkey=each.public_key,
                permissions=permissions.permissions_of(each.user),
                system=each.user == permissions.WITNESS,
            )
            for each in self.clients.values()
        ]

    def etcd(self, service: str, port: int) -> EtcdConfig:
        """Return how a service, or etcd's user root, reaches etcd."""
        pair = self.etcd_clients[service]
        return EtcdConfig(
            endpoints=(f"https://127.0.0.1:{port}",),
            ca_file=str(pair.authority),
            cert_file=str(pair.certificate),
            key_file=str(pair.key),
        )


def issue_identities(
    folder: Path, nodes: list[str], names: ServerNames | None = None, *, renew: bool = False
) -> Identities:
    """Return valid certificates and keys for everyone, `nodes` and a fleet included.

    What is there and good is kept; with `renew`, only the keys and the authorities are.
    """
    names = names or ServerNames()
    authority = Authority(folder, "orch", renew=renew)
    clients = {name: _identity(authority, folder, name, user) for name, user in _SERVICES.items()}
    clients[WITNESS] = _identity(authority, folder, WITNESS, permissions.WITNESS)
    clients[FLEET] = _identity(authority, folder, FLEET, permissions.FLEET, "system:nodes")
    clients[ADMIN] = _identity(authority, folder, ADMIN, permissions.ADMIN, "system:masters")
    for node in nodes:
        clients[node] = _identity(authority, folder, node, f"{permissions.NODE_PREFIX}{node}", "system:nodes")
    etcd = Authority(folder / "etcd", "orch-etcd", renew=renew)
    return Identities(
        clients=clients,
        api_server=authority.issue(Leaf(name="api-server", common_name="orch-api", hosts=names.api, server=True)),
        nats_server=authority.issue(Leaf(name="nats-server", common_name="nats", hosts=names.nats, server=True)),
        # etcd's own gateway calls the server with the server's certificate: it is a client's as well.
        etcd_server=etcd.issue(Leaf(name="server", common_name="etcd", hosts=names.etcd, server=True, client=True)),
        etcd_peer=etcd.issue(Leaf(name="peer", common_name="etcd-peer", hosts=names.etcd, server=True, client=True)),
        etcd_clients={
            name: etcd.issue(Leaf(name=name, common_name=user, client=True))
            for name, user in {**_SERVICES, roles.ROOT: roles.ROOT}.items()
        },
        account_key=signing_key(folder),
    )


def _identity(authority: Authority, folder: Path, name: str, user: str, *groups: str) -> Identity:
    pair = authority.issue(Leaf(name=name, common_name=user, organizations=groups, client=True))
    seed_file = folder / f"{name}.nkey"
    return Identity(user=user, pair=pair, seed_file=seed_file, public_key=user_key(seed_file))
