"""Which ranges of the cluster's pods are free (k8s.io/kubernetes pkg/controller/nodeipam/ipam/cidrset). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from orch.errors import ConfigError


class PodRanges:
    """The cluster's range, cut into one of equal size for each node."""

    def __init__(self, cluster_cidr: str, mask: int, service_cidr: str = "") -> None:
        self._whole = _network("cluster_cidr", cluster_cidr)
        self._services = _network("service_cidr", service_cidr) if service_cidr else None
        if not self._whole.prefixlen <= mask <= 30:
            raise ConfigError("node_cidr_mask_size", f"must be between {self._whole.prefixlen} and 30")
        if mask - self._whole.prefixlen > 16:
            raise ConfigError("node_cidr_mask_size", "leaves more than 65536 ranges of the cluster's")
        self._size = 1 << (32 - mask)
        self._mask = mask
        self._count = self._whole.num_addresses // self._size
        self._next = 0

    def pick(self, used: Iterable[str]) -> str:
        """Return a range that overlaps with none of those in use, "" when there is none.

        The one after the last that was given comes first, so that a range that was just given back rests.
        """
        taken = bytearray(self._count)
        for cidr in used:
            self._occupy(taken, cidr)
        if self._services is not None:
            self._occupy(taken, str(self._services))
        for step in range(self._count):
            place = (self._next + step) % self._count
            if not taken[place]:
                self._next = (place + 1) % self._count
                return str(IPv4Network((int(self._whole.network_address) + place * self._size, self._mask)))
        return ""

    def _occupy(self, taken: bytearray, cidr: str) -> None:
        """Mark what overlaps with a range; one that is none, or of another family, takes nothing."""
        try:
            network = ip_network(cidr, strict=False)
        except ValueError:
            return
        if not isinstance(network, IPv4Network) or not network.overlaps(self._whole):
            return
        base = int(self._whole.network_address)
        first = max(int(network.network_address) - base, 0) // self._size
        last = min(int(network.broadcast_address) - base, self._whole.num_addresses - 1) // self._size
        taken[first : last + 1] = b"\x01" * (last - first + 1)


def _network(setting: str, cidr: str) -> IPv4Network:
    try:
        return IPv4Network(cidr)
    except ValueError as error:
        raise ConfigError(setting, str(error)) from error
