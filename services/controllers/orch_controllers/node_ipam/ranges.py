"""Which ranges of the cluster's pods are free (k8s.io/kubernetes pkg/controller/nodeipam/ipam/cidrset). Pure."""

from __future__ import annotations

from array import array
from ipaddress import IPv4Network, ip_network

from orch.errors import ConfigError


class PodRanges:
    """The cluster's range, cut into one of equal size for each node, and who holds which."""

    def __init__(self, cluster_cidr: str, mask: int, service_cidr: str = "") -> None:
        self._whole = _network("cluster_cidr", cluster_cidr)
        if not self._whole.prefixlen <= mask <= 30:
            raise ConfigError("node_cidr_mask_size", f"must be between {self._whole.prefixlen} and 30")
        if mask - self._whole.prefixlen > 16:
            raise ConfigError("node_cidr_mask_size", "leaves more than 65536 ranges of the cluster's")
        self._base = int(self._whole.network_address)
        self._size = 1 << (32 - mask)
        self._mask = mask
        count = self._whole.num_addresses // self._size
        self._holders = array("L", bytes(array("L").itemsize * count))
        """How many hold a part of each: nodes that bring their ranges may overlap."""
        self._taken = bytearray(count)
        self._held: dict[str, tuple[str, range]] = {}
        self._next = 0
        if service_cidr:
            self._count(self._places(str(_network("service_cidr", service_cidr))), 1)

    def hold(self, owner: str, cidr: str) -> None:
        """Note that `owner` has a range, and none beside it; one that is none, or of another family, takes nothing."""
        held = self._held.get(owner)
        if held is not None and held[0] == cidr:
            return
        self.release(owner)
        places = self._places(cidr)
        self._held[owner] = (cidr, places)
        self._count(places, 1)

    def release(self, owner: str) -> None:
        """Note that `owner` has no range any more."""
        held = self._held.pop(owner, None)
        if held is not None:
            self._count(held[1], -1)

    def pick(self) -> str:
        """Return a range that overlaps with none that is held, "" when there is none.

        The one after the last that was given comes first, so that a range that was just given back rests.
        """
        place = self._taken.find(0, self._next)
        if place < 0:
            place = self._taken.find(0)
        if place < 0:
            return ""
        self._next = (place + 1) % len(self._taken)
        return str(IPv4Network((self._base + place * self._size, self._mask)))

    def _places(self, cidr: str) -> range:
        """Return which of the cluster's ranges overlap with this one."""
        try:
            network = ip_network(cidr, strict=False)
        except ValueError:
            return range(0)
        if not isinstance(network, IPv4Network) or not network.overlaps(self._whole):
            return range(0)
        first = max(int(network.network_address) - self._base, 0) // self._size
        last = min(int(network.broadcast_address) - self._base, self._whole.num_addresses - 1) // self._size
        return range(first, last + 1)

    def _count(self, places: range, by: int) -> None:
        for place in places:
            self._holders[place] += by
            self._taken[place] = self._holders[place] > 0


def _network(setting: str, cidr: str) -> IPv4Network:
    try:
        return IPv4Network(cidr)
    except ValueError as error:
        raise ConfigError(setting, str(error)) from error
