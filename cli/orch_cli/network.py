"""Lays the network that the Podman nodes of a local cluster stand in: namespaces, and a bridge between them.

    orch-<cluster>-fabric      a bridge "fabric0", 10.245.0.1: here images come from (see images.py)
        │           │
    …-node-1    …-node-2       each with one leg on the fabric: "fabric0", 10.245.0.11, 10.245.0.12, …

The host gets no interface and no address. Within a node, the agent adds the pods' bridge and the routes to the other
nodes' pods. What no route of ours takes ends in a blackhole in every namespace, and on the host as well, so that
nothing that is meant for a pod or a service ever leaves the machine.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from orch.errors import OrchError

POD_RANGE: Final = ipaddress.IPv4Network("10.244.0.0/16")
SERVICE_RANGE: Final = ipaddress.IPv4Network("10.96.0.0/16")
FABRIC_RANGE: Final = ipaddress.IPv4Network("10.245.0.0/16")
CLUSTER_DNS: Final = str(SERVICE_RANGE[10])
"""Where the cluster's DNS server is, once there is one: pods' resolvers name it."""
BLACKHOLES: Final = (str(POD_RANGE), str(SERVICE_RANGE))
FABRIC_ADDRESS: Final = "10.245.0.1"
LEG: Final = "fabric0"

_ROUTE_PROTOCOL: Final = "111"
"""Marks the host's blackholes as ours (see `ip route`'s proto): only these are removed again."""

NAMESPACES: Final = Path("/run/netns")
_TIMEOUT: Final = 30.0
_FIRST_NODE: Final = 11


class NetworkError(OrchError):
    """The kernel refused a change of the network; the message is ip's."""


class NodeNetwork(msgspec.Struct, frozen=True):
    """A node's place: its namespace, its address on the fabric, the range of its pods."""

    namespace: str
    address: str
    pod_cidr: str


def node_network(cluster: str, index: int) -> NodeNetwork:
    """Return the place of the node with `index` (from 0)."""
    pods = ipaddress.IPv4Network((int(POD_RANGE.network_address) + ((index + 1) << 8), 24))
    return NodeNetwork(
        namespace=f"orch-{cluster}-node-{index + 1}",
        address=str(FABRIC_RANGE.network_address + _FIRST_NODE + index),
        pod_cidr=str(pods),
    )


def pod_namespace_prefix(cluster: str) -> str:
    """Return what the names of the pods' namespaces begin with."""
    return f"orch-{cluster}-pod-"


def lay_network(cluster: str, nodes: int) -> None:
    """Make the namespaces and links of all nodes. What stands already is kept: containers may live in it."""
    fabric = fabric_namespace(cluster)
    if not _has_leg(fabric):
        remove_namespaces([fabric])
        _ip("netns", "add", fabric)
        _batch(
            fabric,
            f"link add name {LEG} type bridge",
            f"address add {FABRIC_ADDRESS}/{FABRIC_RANGE.prefixlen} dev {LEG}",
            f"link set dev {LEG} up",
            *_confined(),
        )
    for index in range(nodes):
        place = node_network(cluster, index)
        if not _has_leg(place.namespace):
            remove_namespaces([place.namespace])
            _add_node(fabric, f"node-{index + 1}", place)
    for prefix in BLACKHOLES:
        if not _ip_json("route", "show", "root", prefix):
            _ip("route", "replace", "blackhole", prefix, "proto", _ROUTE_PROTOCOL)


def remove_network(cluster: str) -> None:
    """Remove the cluster's namespaces, also the pods', and with the machine's last cluster the host's blackholes."""
    remove_namespaces(name for name in _namespaces() if name.startswith(f"orch-{cluster}-"))
    if any(name.endswith("-fabric") and name.startswith("orch-") for name in _namespaces()):
        return
    for prefix in BLACKHOLES:
        if _ip_json("route", "show", "exact", prefix, "proto", _ROUTE_PROTOCOL):
            _ip("route", "delete", "blackhole", prefix, "proto", _ROUTE_PROTOCOL)


def remove_namespaces(names: Iterable[str]) -> None:
    """Delete namespaces; one that is gone is no error. Their interfaces go with them."""
    for name in names:
        if (NAMESPACES / name).exists():
            _ip("netns", "delete", name)


def _add_node(fabric: str, port: str, place: NodeNetwork) -> None:
    _ip("netns", "add", place.namespace)
    _batch(
        place.namespace,
        f"link add name {LEG} type veth peer name {port} netns {fabric}",
        f"address add {place.address}/{FABRIC_RANGE.prefixlen} dev {LEG}",
        f"link set dev {LEG} up",
        *_confined(),
    )
    _batch(fabric, f"link set dev {port} master {LEG} up")


def _confined() -> tuple[str, ...]:
    return ("link set dev lo up", *(f"route replace blackhole {prefix}" for prefix in BLACKHOLES))


def _has_leg(namespace: str) -> bool:
    return (NAMESPACES / namespace).exists() and any(
        link["ifname"] == LEG for link in _ip_json("-n", namespace, "link", "show")
    )


def fabric_namespace(cluster: str) -> str:
    """Return the name of the namespace between the nodes."""
    return f"orch-{cluster}-fabric"


def _namespaces() -> list[str]:
    return sorted(entry.name for entry in NAMESPACES.iterdir()) if NAMESPACES.exists() else []


def _batch(namespace: str, *commands: str) -> None:
    _ip("-n", namespace, "-batch", "-", text="\n".join(commands) + "\n")


def _ip_json(*arguments: str) -> list[dict[str, Any]]:
    return json.loads(_ip("-json", *arguments) or "[]")


def _ip(*arguments: str, text: str = "") -> str:
    try:
        done = subprocess.run(
            ("ip", *arguments), input=text, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"ip {' '.join(arguments)}: {error}") from error
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
