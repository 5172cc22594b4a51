"""The ranges that services' addresses and node ports are taken from, and the choice of a free one.

The first part of each range is for those who choose for themselves: only when the rest is used up is something of it
given out (k8s.io/kubernetes pkg/registry/core/service/ipallocator and portallocator).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from ipaddress import IPv4Network
from typing import Final

import msgspec

from orch.errors import ConfigError, ServiceUnavailableError

NODE_PORT_CLAIM: Final = "node-port-"
FAMILY: Final = "IPv4"

_DEFAULT_RANGE: Final = "10.96.0.0/16"
_DEFAULT_PORTS: Final = "30000-32767"


class _Band(msgspec.Struct, frozen=True):
    """How much of a range is set aside: a share of it, within bounds."""

    least: int
    most: int
    share: int

    def of(self, size: int) -> int:
        if size <= self.least:
            return 0
        return min(max(size // self.share, self.least), self.most)


_ADDRESS_BAND: Final = _Band(16, 256, 16)
_PORT_BAND: Final = _Band(16, 128, 32)


class ServiceRanges:
    """The ranges of one cluster: the configured one, and those that ServiceCIDR objects add."""

    def __init__(self, cidr: str = _DEFAULT_RANGE, node_ports: str = _DEFAULT_PORTS) -> None:
        self.default = _network("service_cidr", cidr)
        self.node_ports = _ports("service_node_port_range", node_ports)
        self._added: Callable[[], Sequence[bytes]] = tuple

    def learn(self, added: Callable[[], Sequence[bytes]]) -> None:
        """Take ranges also from the ServiceCIDR objects that `added` returns as JSON."""
        self._added = added

    def networks(self) -> list[IPv4Network]:
        """Return all ranges, the configured one first."""
        found = [self.default]
        for json in self._added():
            found += [network for network in _ranges_of(json) if network not in found]
        return found

    def holds(self, address: str) -> bool:
        """Return whether an address can be a service's: it is in a range, and neither its first nor its last one."""
        return any(_is_usable(network, address) for network in self.networks())

    def pick_address(self, used: Container[str], seed: str) -> str:
        """Return a free address. Raises ServiceUnavailableError when all ranges are full."""
        networks = self.networks()
        for network in networks:
            if (address := pick_address(network, used, seed)) is not None:
                return address
        listed = ", ".join(map(str, networks))
        raise ServiceUnavailableError(f"failed to allocate a serviceIP: range is full ({listed})")

    def pick_port(self, used: Container[str], seed: str) -> int:
        """Return a free node port. Raises ServiceUnavailableError when all are taken."""
        port = pick_port(self.node_ports, used, seed)
        if port is None:
            raise ServiceUnavailableError("failed to allocate a nodePort: range is full")
        return port


def pick_address(network: IPv4Network, used: Container[str], seed: str) -> str | None:
    """Return a free address: the same one for the same seed and the same used addresses; None when there is none."""
    band = _ADDRESS_BAND.of(network.num_addresses)
    offsets = _in_turn(range(max(band, 1), network.num_addresses - 1), range(1, band), seed)
    return next((address for offset in offsets if (address := str(network[offset])) not in used), None)


def pick_port(ports: range, used: Container[str], seed: str) -> int | None:
    """Return a free port, None when there is none; `used` has ports as `port_claim` writes them."""
    band = _PORT_BAND.of(len(ports))
    return next((port for port in _in_turn(ports[band:], ports[:band], seed) if port_claim(port) not in used), None)


def port_claim(port: int) -> str:
    """Return what a service claims with a node port."""
    return f"{NODE_PORT_CLAIM}{port}"


def _in_turn(dynamic: range, reserved: range, seed: str) -> Iterator[int]:
    """Yield all of a range from a place that the seed chooses, then what is set aside."""
    start = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest()) % max(len(dynamic), 1)
    return itertools.chain(dynamic[start:], dynamic[:start], reserved)


def _is_usable(network: IPv4Network, address: str) -> bool:
    try:
        inside = any(address == str(host) for host in (network.network_address, network.broadcast_address))
        return IPv4Network(address).subnet_of(network) and not inside
    except ValueError:
        return False


class _Spec(msgspec.Struct, frozen=True):
    cidrs: tuple[str, ...] = ()


class _Metadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None


class _ServiceCIDR(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = _Spec()


_decode = msgspec.json.Decoder(_ServiceCIDR).decode


def _ranges_of(json: bytes) -> list[IPv4Network]:
    """Return the ranges of a ServiceCIDR; nothing is taken from one that is being deleted."""
    found = _decode(json)
    if found.metadata.deletion_timestamp:
        return []
    return [IPv4Network(cidr) for cidr in found.spec.cidrs if ":" not in cidr]


def _network(setting: str, cidr: str) -> IPv4Network:
    try:
        network = IPv4Network(cidr)
    except ValueError as error:
        raise ConfigError(setting, str(error)) from error
    if network.num_addresses < 8:
        raise ConfigError(setting, "has too few addresses")
    return network


def _ports(setting: str, text: str) -> range:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 1 << 16):
        raise ConfigError(setting, f"{text!r} is no range of ports such as 30000-32767")
    return range(int(first), int(last) + 1)
