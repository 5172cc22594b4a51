"""Sandboxes of simulated nodes: addresses without a network, and pods that answer whoever connects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from orch_agent.network.addresses import AddressBook
from orch_agent.network.connections import Connection, DialError, unreached
from orch_agent.network.sandbox import Sandbox, dialled

FIRST_SILENT_PORT: Final = 32768
"""Simulated pods listen on every port below this one: from here on are those from which programs connect."""

_QUEUED: Final = 16
_METHODS: Final = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ")


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

    async def dial(self, sandbox: Sandbox, port: int, *, own_address: bool) -> Connection:
        """Return a connection to a pod that answers HTTP requests with themselves, and echoes everything else."""
        if port >= FIRST_SILENT_PORT:
            tried = dialled(sandbox, own_address)
            raise DialError("; ".join(unreached(each, port, "connect: connection refused") for each in tried))
        return _Echo()

    async def dial_host(self, host: str, port: int) -> Connection:
        """Return a connection to a host that answers as pods do: it is played, too."""
        return await self.dial(Sandbox(host), port, own_address=True)


class _Echo:
    """A connection whose far end is played."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)
        self._request: bytes | None = None
        self._ended = False

    async def read(self) -> bytes:
        """Return the next answer."""
        return await self._answers.get()

    async def write(self, data: bytes) -> None:
        """Answer to what was sent: once a request's head is complete, with that and an end."""
        if self._ended:
            return
        if self._request is None and not data.startswith(_METHODS):
            await self._answers.put(data)
            return
        self._request = (self._request or b"") + data
        head, complete, _ = self._request.partition(b"\r\n\r\n")
        if complete:
            line = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            body = b"" if head.startswith(b"HEAD ") else head
            await self._answers.put(line % len(head) + body)
            await self.end()

    async def end(self) -> None:
        """End the answers, too."""
        if not self._ended:
            self._ended = True
            await self._answers.put(b"")

    async def close(self) -> None:
        """Do nothing: nothing is held."""
