"""Where the api may connect to on behalf of others: what users write must not lead it to what only it can reach.

Webhooks, APIServices and registries are named by users. A name is resolved here, every address is looked at, and the
very address that was looked at is dialled, so that a name cannot mean something else a moment later. Refused, unless a
setting allows it: the machine's own loopback, link-local addresses, where clouds keep their metadata, and whatever
is no single host. The ports of the api, of etcd and of NATS stay closed even where their address is allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from prometheus_client import Counter

from orch.errors import ConfigError

REFUSED: Final = Counter("orch_api_outgoing_refused", "Connections that were not made, by what is there", ("what",))

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_METADATA: Final[frozenset[Address]] = frozenset(
    ip_address(one) for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds keep metadata outside of the link-local range: Alibaba, Azure, Oracle, AWS, GCP."""
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_LOW_32: Final = 0xFFFF_FFFF
_MAX_ADDRESSES: Final = 8


class RefusedAddressError(OSError):
    """An address that outgoing requests may not reach."""


class Allowance(msgspec.Struct, frozen=True):
    """Addresses that are allowed although they would be refused; of all ports, or of one."""

    network: Network
    port: int = 0


class Guard:
    """Says to which addresses a connection may be made."""

    def __init__(
        self,
        allowed: Sequence[Allowance] = (),
        protected: Iterable[tuple[str, int]] = (),
        *,
        resolve: Resolve | None = None,
        everything: bool = False,
    ) -> None:
        self._allowed = tuple(allowed)
        self._protected = frozenset(protected)
        self._protected_ports = frozenset(port for _, port in self._protected)
        self._resolve = resolve or _resolve
        self._everything = everything

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, one after another to be tried. Raises RefusedAddressError and OSError."""
        literal = _parsed(host)
        found = [host] if literal is not None else await self._resolve(host, port)
        if self._everything:
            return list(dict.fromkeys(found))[:_MAX_ADDRESSES]
        closed = await self._closed(port)
        checked: list[str] = []
        for one in dict.fromkeys(found):
            address = _parsed(one)
            if address is None:
                raise OSError(f"lookup {host}: {one!r} is no address")
            address = _plain(address)
            if problem := self._problem(address, port, closed):
                REFUSED.labels(problem).inc()
                named = "" if literal is not None else f" ({host})"
                raise RefusedAddressError(
                    f"dial tcp {_shown(address, port)}{named}: {problem} may not be reached by outgoing requests"
                )
            checked.append(str(address))
        if not checked:
            raise OSError(f"lookup {host}: no such host")
        return checked[:_MAX_ADDRESSES]

    async def _closed(self, port: int) -> frozenset[str]:
        """Return at which addresses the control plane has a port; those of its names are looked up each time."""
        if port not in self._protected_ports:
            return frozenset()
        found: set[str] = set()
        for host, number in self._protected:
            if number != port:
                continue
            literal = _parsed(host)
            if literal is not None:
                found.add(str(_plain(literal)))
                continue
            with contextlib.suppress(OSError):  # a name that means nothing now keeps nothing closed
                some = [_parsed(one) for one in await self._resolve(host, port)]
                found.update(str(_plain(one)) for one in some if one is not None)
        return frozenset(found)

    def _problem(self, address: Address, port: int, closed: frozenset[str]) -> str:
        """Return what is at an address that may not be reached, "" for one that may."""
        if port in self._protected_ports and (str(address) in closed or _is_own(address)):
            return "" if self._allows(address, port, exactly=True) else "a port of the control plane"
        kind = kind_of_address(address)
        return "" if not kind or self._allows(address, port, exactly=False) else kind

    def _allows(self, address: Address, port: int, *, exactly: bool) -> bool:
        return any(
            (one.port == port or (not one.port and not exactly))
            and one.network.version == address.version
            and address in one.network
            for one in self._allowed
        )


def kind_of_address(address: Address) -> str:
    """Return what makes an address one that nobody may have dialled, "" when nothing does.

    What is packed into an IPv6 address counts, too: IPv4-mapped, 6to4, Teredo and NAT64 addresses lead to it.
    """
    return next((kind for one in (address, *_packed(address)) if (kind := _kind(one))), "")


def _kind(address: Address) -> str:
    found = ""
    if address.is_loopback:
        found = "a loopback address"
    elif address.is_link_local:
        found = "a link-local address"
    elif address in _METADATA:
        found = "a metadata address"
    elif address.is_unspecified or address in _THIS_NETWORK:
        found = "an unspecified address"
    elif address.is_multicast:
        found = "a multicast address"
    elif isinstance(address, IPv4Address) and address.is_reserved:
        found = "a reserved address"
    return found


def _packed(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        found.append(IPv4Address(int(address) & _LOW_32))
    return [one for one in found if one is not None]


def _plain(address: Address) -> Address:
    """Return an IPv4 address that is written as an IPv6 one as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None


def _shown(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _is_own(address: Address) -> bool:
    """Return whether an address is this machine's: only to its own can a socket be bound."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(address), 0))
        return True
    return False


async def _resolve(host: str, port: int) -> Sequence[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"dial tcp: lookup {host}: {error}") from error
    return [str(entry[4][0]) for entry in found]


OPEN: Final = Guard(everything=True)
"""For what the administrator names in a file of the api's own."""


def guard(allowed: Sequence[str], protected: Iterable[str]) -> Guard:
    """Return the guard that settings ask for: `allowed` as "CIDR", "CIDR:port" or "address:port"; `protected` as URLs.

    Raises ConfigError.
    """
    return Guard(
        [_allowance(index, text) for index, text in enumerate(allowed)],
        [found for url in protected if (found := _place(url)) is not None],
    )


def _allowance(index: int, text: str) -> Allowance:
    network, port = text, ""
    if not _is_network(text):
        network, _, port = text.rpartition(":")
    network = network.replace("[", "").replace("]", "")
    try:
        return Allowance(ip_network(network), msgspec.convert(port or "0", _Port, strict=False))
    except ValueError as error:
        problem = f"expected addresses such as 127.0.0.0/8 or 127.0.0.1:9443, got {text!r}: {error}"
        raise ConfigError(f"outgoing_allowed[{index}]", problem) from error


_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _place(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url if "//" in url else f"//{url}")
    return (parts.hostname or "", parts.port) if parts.port else None
