"""What a local cluster consists of: certificates, configuration, network, and the programs that run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypedDict

from orch.bus.node_users import read_keys, users_of
from orch.bus.server import User
from orch.runtime.service import settle_store
from orch.store import roles
from orch_cli import programs
from orch_cli.encryption import encryption_file
from orch_cli.identities import ADMIN, API, CONTROLLERS, ETCD_ROLES, SCHEDULER, WITNESS, Identities, issue_identities
from orch_cli.kubeconfig import opens_with, write_kubeconfig
from orch_cli.layout import Layout
from orch_cli.network import node_network
from orch_cli.nodes import agent_programs, clear_nodes, prepare_nodes
from orch_cli.pki import KeyPair
from orch_cli.process import Program
from orch_cli.readiness import ApiProbe
from orch_cli.state import ClusterState

_START_SECONDS: Final = 120.0
_START_SECONDS_A_NODE: Final = 0.1


class _Bus(TypedDict):
    address: str
    pair: KeyPair
    users: list[User]


class Cluster:
    """One local cluster, as its state says."""

    def __init__(self, layout: Layout, state: ClusterState) -> None:
        self.layout = layout
        self.state = state
        self.server = f"https://127.0.0.1:{state.ports.api}"
        self.start_deadline = _START_SECONDS + state.nodes * _START_SECONDS_A_NODE

    def prepare(self) -> tuple[list[Program], ApiProbe]:
        """Put in place what the programs need; return them in the order of starting, and what tells readiness."""
        for folder in (self.layout.config, self.layout.logs, self.layout.pids, self.layout.data):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        identities = self.identities()
        prepare_nodes(self.state)
        admin = identities.clients[ADMIN].pair
        write_kubeconfig(self.layout.kubeconfig, cluster="orch", server=self.server, admin=admin)
        _leave_to_caller(self.layout.root, self.layout.kubeconfig)
        group = [
            *self._stores(identities),
            *self._services(identities),
            *agent_programs(self.layout, self.state, identities),
        ]
        return group, ApiProbe(self.state.ports.api, admin)

    def identities(self, *, renew: bool = False) -> Identities:
        """Return everyone's certificates and keys; those that are missing or end soon are made anew, or all of them.

        The user's kubeconfig holds copies of the administrator's, and is brought up to them.
        """
        nodes = self.state.node_names() if self.state.runtime == "podman" else []
        identities = issue_identities(self.layout.pki, nodes, renew=renew)
        admin = identities.clients[ADMIN].pair
        if not opens_with(self.layout.kubeconfig, admin):
            write_kubeconfig(self.layout.kubeconfig, cluster="orch", server=self.server, admin=admin)
            _leave_to_caller(self.layout.root, self.layout.kubeconfig)
        return identities

    async def settle_store(self) -> int:
        """Give etcd, once it serves, its users and their roles; return how many things were changed."""
        root = self.identities().etcd(roles.ROOT, self.state.ports.etcd)
        return await settle_store(root, ETCD_ROLES, timeout=self.start_deadline)

    def clear(self) -> None:
        """Remove what the programs leave outside the state folder."""
        clear_nodes(self.layout, self.state)

    def namespace_of(self, node: str) -> str:
        """Return the path of a Podman node's network namespace."""
        index = self.state.node_names().index(node)
        return f"/run/netns/{node_network(self.state.cluster, index).namespace}"

    def _stores(self, identities: Identities) -> list[Program]:
        ports, data = self.state.ports, self.layout.data
        return [
            programs.etcd(
                data / "etcd",
                client_port=ports.etcd,
                peer_port=ports.etcd_peer,
                pair=identities.etcd_server,
                peer=identities.etcd_peer,
            ),
            programs.nats(self.layout.nats_config, data / "nats", **self._bus(identities)),
        ]

    def _bus(self, identities: Identities) -> _Bus:
        return {
            "address": f"127.0.0.1:{self.state.ports.nats}",
            "pair": identities.nats_server,
            "users": users_of(read_keys(self.layout.bus_keys), identities.bus_users()),
        }

    def bus_config(self, identities: Identities) -> bytes:
        """Return the NATS server's configuration as it has to be now, for the nodes that have joined."""
        return programs.nats_config(self.layout.data / "nats", **self._bus(identities))

    def _services(self, identities: Identities) -> list[Program]:
        ports, config = self.state.ports, self.layout.config

        def connections(name: str) -> dict[str, object]:
            return {
                "etcd": identities.etcd(name, ports.etcd),
                "nats": identities.clients[name].nats(f"127.0.0.1:{ports.nats}"),
                "telemetry": self.state.telemetry(),
            }

        api = {
            "address": "127.0.0.1",
            "port": ports.api,
            "tls_cert_file": str(identities.api_server.certificate),
            "tls_key_file": str(identities.api_server.key),
            "client_ca_file": str(identities.api_server.authority),
            "service_account_key_file": str(identities.account_key),
            "encryption_provider_config": str(encryption_file(self.layout.pki)),
            "bus_keys_file": str(self.layout.bus_keys),
            "audit_log_file": str(self.layout.logs / "audit.log"),
            # webhooks are tried out where they are written; the ports of the cluster itself stay closed to them
            "outgoing_allowed": ["127.0.0.0/8", "::1/128"],
            **connections(API),
        }
        controllers = {
            "cluster_signing_cert_file": str(identities.api_server.authority),
            "cluster_signing_key_file": str(identities.api_server.authority.with_name("ca.key")),
            **connections(CONTROLLERS),
            "witness": identities.clients[WITNESS].nats(f"127.0.0.1:{ports.nats}"),
        }
        return [
            programs.service(API, programs.APIS, config / "api.yaml", api),
            programs.service(SCHEDULER, programs.LOOPS, config / "scheduler.yaml", connections(SCHEDULER)),
            programs.service(CONTROLLERS, programs.LOOPS, config / "controllers.yaml", controllers),
        ]


def _leave_to_caller(*paths: Path) -> None:
    """Give what the user needs to whoever called us through sudo."""
    user = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and user.isdecimal():
        for path in paths:
            os.chown(path, int(user), -1)
