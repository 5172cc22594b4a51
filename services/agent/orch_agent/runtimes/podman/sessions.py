"""The input and output of containers and of commands inside them, over connections that Podman hands over."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import urlencode

from orch.clock import Clock
from orch.errors import UnavailableError
from orch_agent.runtimes.podman.connection import Connection, Document
from orch_agent.runtimes.podman.input import MonitorInput
from orch_agent.runtimes.podman.wire import Wire
from orch_agent.runtimes.protocol import ContainerError

_LOG: Final = logging.getLogger(__name__)
_RESIZE_AGAIN: Final = 0.2


class Terminals:
    """What commands and terminals ask of Podman while they run."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def resize(self, where: str, width: int, height: int, *, later: bool = False) -> None:
        """Set the size of a terminal, named by the path of its container or command; `later`: after a moment."""
        if later:
            await self._clock.sleep(_RESIZE_AGAIN)
        await self._connection.call("POST", f"{where}/resize?{urlencode({'w': width, 'h': height})}")

    async def exec_state(self, session: str) -> Document:
        """Return what Podman knows of a command."""
        return await self._connection.call("GET", f"/exec/{session}/json")


class PodmanSession:
    """A hijacked connection: a terminal's bytes, or frames of two outputs. `where` is what has the terminal.

    Input goes its own way, and over the connection only where there is no such way.
    """

    def __init__(self, terminals: Terminals, wire: Wire, where: str, fed: MonitorInput, *, tty: bool) -> None:
        self._terminals = terminals
        self._wire = wire
        self._fed = fed
        self._where = where
        self._tty = tty
        self._repeating: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """Feed the standard input."""
        if not await self._fed.write(data):
            await self._wire.write(data)

    async def end_input(self) -> None:
        """Close the standard input."""
        if not await self._fed.end():
            await self._wire.end()

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the terminal, and once more a moment later.

        Of two sizes that conmon reads at once it takes the first twice, and kubectl always begins with two.
        """
        if self._repeating is not None:
            self._repeating.cancel()
        await self._terminals.resize(self._where, width, height)
        self._repeating = asyncio.create_task(self._repeat(width, height), name="terminal's size")

    def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what is written until it ends."""
        return self._wire.raw() if self._tty else self._wire.frames()

    async def close(self) -> None:
        """Close the connections."""
        self._fed.close()
        if self._repeating is not None:
            self._repeating.cancel()
            await asyncio.gather(self._repeating, return_exceptions=True)
        await self._wire.close()

    async def _repeat(self, width: int, height: int) -> None:
        try:
            await self._terminals.resize(self._where, width, height, later=True)
        except (ContainerError, UnavailableError) as error:
            _LOG.debug("a terminal's size was set once only: %s", error)


class PodmanExec(PodmanSession):
    """A command that runs inside a container, on its connection."""

    def __init__(self, terminals: Terminals, session: str, wire: Wire, fed: MonitorInput, *, tty: bool) -> None:
        super().__init__(terminals, wire, f"/exec/{session}", fed, tty=tty)
        self._session = session

    async def exit_code(self) -> int:
        """Return its exit code."""
        state = await self._terminals.exec_state(self._session)
        return int(state.get("ExitCode") or 0)

    async def kill(self) -> None:
        """Kill its first process: Podman has no call for that, and lets a command go on whose caller has left."""
        try:
            state = await self._terminals.exec_state(self._session)
            if state.get("Running") and (pid := int(state.get("Pid") or 0)) > 1:
                os.kill(pid, signal.SIGKILL)
        except (ContainerError, UnavailableError, ProcessLookupError) as error:
            _LOG.debug("a command was not killed: %s", error)


class PodmanAttached(PodmanSession):
    """A container's own input and output."""

    def __init__(
        self, terminals: Terminals, container: str, wire: Wire, fed: MonitorInput, *, tty: bool, takes_input: bool
    ) -> None:
        super().__init__(terminals, wire, f"/containers/{container}", fed, tty=tty)
        self._takes_input = takes_input

    async def write(self, data: bytes) -> None:
        """Feed the standard input, if there is one: what nobody reads would break the connection in the end."""
        if self._takes_input:
            await super().write(data)

    async def end_input(self) -> None:
        """Close the standard input, if there is one."""
        if self._takes_input:
            await super().end_input()
