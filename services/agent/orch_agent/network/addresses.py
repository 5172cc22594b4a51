"""Hands out a node's pod addresses and remembers them in a file, so that a restart neither loses nor doubles one."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from orch.errors import OrchError


class AddressesExhaustedError(OrchError):
    """The node's range has no free address left."""


class AddressBook:
    """The addresses of one node's range by pod uid. The first address is the bridge's own.

    Addresses are given in turn, so that one that was just released is the last to be given again: whoever still
    talks to it meets nobody rather than a stranger. With a file, every change is on disk before the call returns.
    """

    def __init__(self, cidr: str, file: Path | None = None) -> None:
        network = ipaddress.ip_network(cidr)
        self.prefix_length = network.prefixlen
        self._first = int(network.network_address) + 2
        self._last = int(network.broadcast_address) - 1
        self._make = type(network.network_address)
        self.gateway = str(self._make(self._first - 1))
        self._file = file
        self._by_uid: dict[str, int] = {}
        self._taken: set[int] = set()
        self._next = self._first
        if file is not None and file.exists():
            self._load(msgspec.json.decode(file.read_bytes(), type=dict[str, str]))

    def _load(self, saved: Mapping[str, str]) -> None:
        for uid, text in saved.items():
            address = int(ipaddress.ip_address(text))
            if self._first <= address <= self._last:
                self._by_uid[uid] = address
                self._taken.add(address)
                self._next = max(self._next, address + 1)

    def owners(self) -> tuple[str, ...]:
        """Return the uids that hold an address."""
        return tuple(self._by_uid)

    def address_of(self, uid: str) -> str:
        """Return the address that `uid` holds, "" if none."""
        held = self._by_uid.get(uid)
        return "" if held is None else str(self._make(held))

    def take(self, uid: str) -> str:
        """Return the address of `uid`, giving it one if it has none. Raises AddressesExhaustedError, OSError."""
        if uid not in self._by_uid:
            address = self._free_address()
            self._save({**self._by_uid, uid: address})
            self._by_uid[uid] = address
            self._taken.add(address)
            self._next = address + 1
        return self.address_of(uid)

    def release(self, uid: str) -> None:
        """Give back the address of `uid`; nothing if it holds none. Raises OSError."""
        if uid in self._by_uid:
            self._save({other: address for other, address in self._by_uid.items() if other != uid})
            self._taken.discard(self._by_uid.pop(uid))

    def _free_address(self) -> int:
        size = self._last - self._first + 1
        if len(self._taken) >= size:
            raise AddressesExhaustedError(f"no free address in the node's pod range: all {max(size, 0)} are in use")
        address = self._next
        while True:
            if address > self._last:
                address = self._first
            if address not in self._taken:
                return address
            address += 1

    def _save(self, by_uid: Mapping[str, int]) -> None:
        """Write what is to hold from now on. Raises OSError, and then what held before holds still."""
        if self._file is None:
            return
        fresh = self._file.with_suffix(".new")
        with fresh.open("wb") as output:
            output.write(msgspec.json.encode({uid: str(self._make(value)) for uid, value in by_uid.items()}))
            output.flush()
            os.fsync(output.fileno())
        fresh.replace(self._file)
