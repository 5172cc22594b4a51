"""`orch prepare`: what a cluster of containers needs before it starts, each container's part in a folder of its own.

    DIR/kubeconfig                         the user's way in
    DIR/{etcd,etcd-users,nats,api,scheduler,controllers,node-1,…,prometheus,admin}/
                                           mounted read-only at /etc/orch of the container that it is named after
    DIR/pki/                               the authorities' keys, which no container of the cluster sees

It can be run again at any time: certificates and keys that are there and still good are kept.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import yaml

from orch.bus import server
from orch.config import EtcdConfig, NatsConfig
from orch.errors import ConfigError
from orch.store import roles
from orch_cli.encryption import FILE, encryption_settings
from orch_cli.identities import (
    ADMIN,
    API,
    API_HOSTS,
    CONTROLLERS,
    LOOPBACK,
    SCHEDULER,
    WITNESS,
    Identities,
    ServerNames,
    issue_identities,
)
from orch_cli.images import registries
from orch_cli.kubeconfig import write_kubeconfig
from orch_cli.layout import Layout
from orch_cli.network import BLACKHOLES, CLUSTER_DNS, node_network
from orch_cli.nodes import share_of_machine
from orch_cli.pki import Authority, KeyPair, Leaf, write_private
from orch_cli.state import Runtime

MOUNTED_AT: Final = "/etc/orch"
ETCD: Final = "etcd"
ETCD_USERS: Final = "etcd-users"
NATS: Final = "nats"
PROMETHEUS: Final = "prometheus"

_ROOT: Final = 0
_SERVICE: Final = 10001
_PROMETHEUS: Final = 65534
"""The users that the containers run as: root, that of our own images, that of Prometheus' image (nobody)."""

_LOGS: Final = {"log_format": "json"}
_METRICS: Final = {"metrics_address": "0.0.0.0:9100"}
"""Read by Prometheus on the networks between the containers; no port of the host leads there."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen. `server`: where users reach the API; `mirror`: the host:port that stands in for docker.io."""

    nodes: int = 2
    runtime: Runtime = "podman"
    server: str = "https://127.0.0.1:6443"
    mirror: str = ""


class Folder:
    """What one container finds at /etc/orch. Its files can be read by the user that the container runs as, alone."""

    def __init__(self, root: Path, name: str, owner: int) -> None:
        self._path = root / name
        self._owner = owner
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _give(self._path, owner)

    def put(self, name: str, content: bytes) -> str:
        """Write a file, unless it is there as it should be; return its path as the container sees it."""
        file = self._path / name
        if not file.is_file() or file.read_bytes() != content:
            write_private(file, content)
        _give(file, self._owner)
        return f"{MOUNTED_AT}/{name}"

    def found(self, name: str, content: Callable[[], bytes]) -> str:
        """Return a file's path as the container sees it; one that is there is others' to change, and is left alone."""
        if not (self._path / name).is_file():
            self.put(name, content())
        return f"{MOUNTED_AT}/{name}"

    def put_yaml(self, name: str, content: object) -> str:
        """Write settings."""
        return self.put(name, yaml.safe_dump(msgspec.to_builtins(content), sort_keys=False).encode())

    def put_pair(self, prefix: str, pair: KeyPair) -> KeyPair:
        """Copy a certificate, its key and its authority's certificate; return where the container sees them."""
        copies = {"ca.crt": pair.authority, f"{prefix}.crt": pair.certificate, f"{prefix}.key": pair.key}
        authority, certificate, key = (Path(self.put(name, path.read_bytes())) for name, path in copies.items())
        return KeyPair(authority, certificate, key)


def prepare(layout: Layout, plan: Plan) -> int:
    """Write everything below the state folder. Raises ConfigError for a server that is no https address."""
    host = urllib.parse.urlsplit(plan.server)
    if host.scheme != "https" or not host.hostname:
        raise ConfigError("--server", f"expected an address such as https://127.0.0.1:6443, got {plan.server!r}")
    names = ServerNames(
        api=tuple(dict.fromkeys((*API_HOSTS, API, host.hostname))),
        nats=(*LOOPBACK, NATS),
        etcd=(*LOOPBACK, ETCD),
    )
    nodes = [f"node-{number}" for number in range(1, plan.nodes + 1)]
    identities = issue_identities(layout.pki, nodes, names)
    _stores(layout.root, identities)
    _services(layout.root, identities)
    for index, node in enumerate(nodes):
        _node(layout.root, node, index, plan, identities)
    _onlookers(layout, identities)
    admin = identities.clients[ADMIN].pair
    write_kubeconfig(layout.kubeconfig, cluster="orch", server=plan.server, admin=admin)
    _give(layout.kubeconfig, layout.root.stat().st_uid)
    print(f"Certificates, keys and configuration are in {layout.root}")
    return 0


def _stores(root: Path, identities: Identities) -> None:
    etcd = Folder(root, ETCD, _ROOT)
    etcd.put_pair("server", identities.etcd_server)
    etcd.put_pair("peer", identities.etcd_peer)
    users = Folder(root, ETCD_USERS, _ROOT)
    users.put_yaml("config.yaml", {"etcd": _etcd(users, roles.ROOT, identities)})
    nats = Folder(root, NATS, _ROOT)
    pair = nats.put_pair("server", identities.nats_server)
    settings = server.ServerSettings(
        host="0.0.0.0",  # noqa: S104 - clients are in other containers
        store_dir="/data",
        users=tuple(identities.bus_users()),
        tls=server.Tls(ca_file=str(pair.authority), cert_file=str(pair.certificate), key_file=str(pair.key)),
        http_address="127.0.0.1:8222",
    )
    nats.put("nats.conf", server.render_config(settings).encode())


def _services(root: Path, identities: Identities) -> None:
    api = Folder(root, API, _SERVICE)
    pair = api.put_pair("server", identities.api_server)
    tls = {
        "tls_cert_file": str(pair.certificate),
        "tls_key_file": str(pair.key),
        "client_ca_file": str(pair.authority),
        "service_account_key_file": api.put("service-accounts.key", identities.account_key.read_bytes()),
        # `orch secrets rotate` may be changing it right now
        "encryption_provider_config": api.found(FILE, lambda: encryption_settings(root / API / FILE)),
    }
    told = {"telemetry": _LOGS, "audit_stream": True}
    api.put_yaml("config.yaml", {**tls, **_connections(api, API, identities), **told})
    for name in (SCHEDULER, CONTROLLERS):
        folder = Folder(root, name, _SERVICE)
        settings = {**_connections(folder, name, identities), "telemetry": _LOGS | _METRICS}
        if name == CONTROLLERS:
            settings["witness"] = _bus(folder, WITNESS, identities)
        folder.put_yaml("config.yaml", settings)


def _node(root: Path, node: str, index: int, plan: Plan, identities: Identities) -> None:
    folder = Folder(root, node, _ROOT)
    place = node_network("", index)
    others = (node_network("", other) for other in range(plan.nodes) if other != index)
    settings = {
        "node_name": node,
        "node_ip": place.address,
        "pod_cidr": place.pod_cidr,
        "capacity": share_of_machine(plan.nodes),
        "runtime": plan.runtime,
        "podman": {"registries_file": folder.put("registries.conf", registries(plan.mirror))},
        "network": {
            "blackholes": BLACKHOLES,
            "routes": [{"to": other.pod_cidr, "via": other.address} for other in others],
        },
        "pods": {"cluster_dns": [CLUSTER_DNS]},
        "nats": _bus(folder, node, identities),
        "telemetry": _LOGS | _METRICS,
    }
    folder.put_yaml("config.yaml", settings)


def _onlookers(layout: Layout, identities: Identities) -> None:
    """Write the parts of those who look on: Prometheus, and the administrator's tools on the bus."""
    monitor = Leaf(name=PROMETHEUS, common_name="system:prometheus", organizations=("system:monitoring",), client=True)
    Folder(layout.root, PROMETHEUS, _PROMETHEUS).put_pair("client", Authority(layout.pki, "orch").issue(monitor))
    _bus(Folder(layout.root, ADMIN, _ROOT), ADMIN, identities)


def _connections(folder: Folder, name: str, identities: Identities) -> dict[str, object]:
    return {"etcd": _etcd(folder, name, identities), "nats": _bus(folder, name, identities)}


def _etcd(folder: Folder, name: str, identities: Identities) -> EtcdConfig:
    pair = identities.etcd_clients[name]
    return EtcdConfig(
        endpoints=(f"https://{ETCD}:2379",),
        ca_file=folder.put("etcd-ca.crt", pair.authority.read_bytes()),
        cert_file=folder.put("etcd.crt", pair.certificate.read_bytes()),
        key_file=folder.put("etcd.key", pair.key.read_bytes()),
    )


def _bus(folder: Folder, name: str, identities: Identities) -> NatsConfig:
    identity = identities.clients[name]
    prefix = WITNESS if name == WITNESS else "bus"
    pair = folder.put_pair(prefix, identity.pair)
    return NatsConfig(
        servers=(f"tls://{NATS}:4222",),
        ca_file=str(pair.authority),
        cert_file=str(pair.certificate),
        key_file=str(pair.key),
        nkey_seed_file=folder.put(f"{prefix}.nkey", identity.seed_file.read_bytes()),
        user=identity.user,
    )


def _give(path: Path, owner: int) -> None:
    """Make a path the property of a container's user; a caller who is not root keeps it, and runs all as himself."""
    if os.geteuid() == 0:
        os.chown(path, owner, -1)
