"""The addresses that load balancers are given. Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, ip_address

from orch.errors import ConfigError


class Pool:
    """Ranges of addresses, given out from the lowest free one on; first and last of a range are left out."""

    def __init__(self, ranges: tuple[str, ...]) -> None:
        self._networks = [_network(cidr) for cidr in ranges]

    def __bool__(self) -> bool:
        """Tell whether there is an address at all."""
        return bool(self._networks)

    def __str__(self) -> str:
        """Return the ranges."""
        return ", ".join(map(str, self._networks))

    def __contains__(self, address: object) -> bool:
        """Tell whether an address can be given."""
        try:
            found = ip_address(str(address))
        except ValueError:
            return False
        return any(isinstance(found, IPv4Address) and _is_usable(found, network) for network in self._networks)

    def pick(self, is_taken: Callable[[str], bool]) -> str:
        """Return a free address, "" when there is none."""
        hosts = (str(host) for network in self._networks for host in network.hosts())
        return next((host for host in hosts if not is_taken(host)), "")


def _is_usable(address: IPv4Address, network: IPv4Network) -> bool:
    if network.num_addresses <= 2:
        return address in network
    return address in network and address not in {network.network_address, network.broadcast_address}


def _network(cidr: str) -> IPv4Network:
    try:
        return IPv4Network(cidr)
    except ValueError as error:
        raise ConfigError("load_balancer_ranges", str(error)) from error
