"""Interfaces, addresses and routes by rtnetlink(7), of the network namespace in which a socket was opened.

`ip` does the same; but to start it takes more of a node than all that it then does, several times for each pod.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from types import TracebackType
from typing import Final, Self

_ROUTE: Final = 0  # NETLINK_ROUTE
_NEW_LINK: Final = 16
_DELETE_LINK: Final = 17
_NEW_ADDRESS: Final = 20
_NEW_ROUTE: Final = 24
_ERROR: Final = 2
_REQUEST: Final = 0x1 | 0x4  # and its acknowledgement
_CREATE: Final = 0x200 | 0x400  # what is not there yet
_UP: Final = 1
_MAIN_TABLE: Final = 254
_BY_ADMINISTRATOR: Final = 3  # RTPROT_BOOT, as ip says
_UNICAST: Final = 1

_IFLA_NAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_MASTER: Final = 10
_IFLA_INFO: Final = 18
_IFLA_NAMESPACE: Final = 28
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_VETH_PEER: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_RTA_DEVICE: Final = 4
_RTA_GATEWAY: Final = 5

_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ROUTE_FIELDS: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=I")
_CODE: Final = struct.Struct("=i")
_ANSWER: Final = 16 << 10
_PATIENCE: Final = 10.0
"""Seconds: the kernel answers at once, but for a lock that the removal of many namespaces may hold."""


class Netlink:
    """A socket by which the kernel is told; all methods raise OSError when it refuses."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _ROUTE)
        self._socket.settimeout(_PATIENCE)
        self._sequence = 0

    def __enter__(self) -> Self:
        """Return the socket itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._socket.close()

    def add_pair(self, name: str, peer: str, *, mtu: int, master: int, namespace: int) -> None:
        """Add a pair of interfaces: `name`, up and part of a bridge (its index), and `peer` in another namespace."""
        other = _link() + _text(_IFLA_NAME, peer) + _number(_IFLA_MTU, mtu) + _number(_IFLA_NAMESPACE, namespace)
        info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, other))
        body = _link(flags=_UP) + _text(_IFLA_NAME, name) + _number(_IFLA_MTU, mtu) + _number(_IFLA_MASTER, master)
        self._tell(_NEW_LINK, body + _attribute(_IFLA_INFO, info), _CREATE)

    def set_up(self, index: int) -> None:
        """Set an interface up."""
        self._tell(_NEW_LINK, _link(index=index, flags=_UP))

    def delete_link(self, name: str) -> None:
        """Delete an interface, and with it the other one of its pair."""
        self._tell(_DELETE_LINK, _link() + _text(_IFLA_NAME, name))

    def add_address(self, index: int, address: str, prefix_length: int) -> None:
        """Give an interface an address."""
        family, packed = _packed(address)
        body = _ADDRESS.pack(family, prefix_length, 0, 0, index)
        self._tell(_NEW_ADDRESS, body + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed), _CREATE)

    def add_default_route(self, index: int, gateway: str) -> None:
        """Send by a gateway whatever has no route of its own."""
        family, packed = _packed(gateway)
        body = _ROUTE_FIELDS.pack(family, 0, 0, 0, _MAIN_TABLE, _BY_ADMINISTRATOR, 0, _UNICAST, 0)
        self._tell(_NEW_ROUTE, body + _attribute(_RTA_GATEWAY, packed) + _number(_RTA_DEVICE, index), _CREATE)

    def _tell(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send one message and wait until it is acknowledged."""
        self._sequence += 1
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, kind, _REQUEST | flags, self._sequence, 0) + body)
        while True:
            answer = self._socket.recv(_ANSWER)
            _, answered, _, sequence, _ = _HEADER.unpack_from(answer)
            if answered == _ERROR and sequence == self._sequence:
                break
        (code,) = _CODE.unpack_from(answer, _HEADER.size)
        if code:
            raise OSError(-code, os.strerror(-code))


def _link(*, index: int = 0, flags: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _packed(address: str) -> tuple[int, bytes]:
    found = ipaddress.ip_address(address)
    return (socket.AF_INET if found.version == 4 else socket.AF_INET6), found.packed


def _attribute(kind: int, data: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data + bytes(-size % 4)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return _attribute(kind, _NUMBER.pack(number))
