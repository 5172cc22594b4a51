"""Sandboxes of simulated nodes: addresses without a network."""

from __future__ import annotations

from collections.abc import Sequence

from orch_agent.network.addresses import AddressBook
from orch_agent.network.sandbox import Sandbox


class SimulatedSandboxes:
    """Hands out addresses of the node's range."""

    def __init__(self, cidr: str) -> None:
        self._addresses = AddressBook(cidr)

    async def prepare(self) -> None:
        """Do nothing: there is no network."""

    async def ensure(self, uid: str) -> tuple[Sandbox, bool]:
        """Return the pod's address."""
        made = not self._addresses.address_of(uid)
        return Sandbox(self._addresses.take(uid)), made

    async def remove(self, uid: str) -> None:
        """Give the pod's address back."""
        self._addresses.release(uid)

    async def owners(self) -> Sequence[str]:
        """Return who holds an address."""
        return self._addresses.owners()
