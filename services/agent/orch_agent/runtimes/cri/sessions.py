"""The input and output of containers and of commands inside them, over a CRI runtime's streams.

The streams are client-go's for remote commands, version 4: `error`, on which the end is told, `stdin`, `stdout`,
`stderr`, and `resize` for terminals.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, Self

import msgspec

from orch.errors import Status, StatusDetails, UnavailableError
from orch.spdy.frames import Data, RstStream, SynReply
from orch_agent.runtimes.cri import processes
from orch_agent.runtimes.cri.upgrade import SpdyStreams
from orch_agent.runtimes.protocol import STDERR, STDOUT, ContainerError

_LOG: Final = logging.getLogger(__name__)
_OPEN_TIMEOUT: Final = 30.0
_END_TIMEOUT: Final = 30.0
_SUCCESS: Final = "Success"
_EXIT_CODE: Final = "ExitCode"
_WRAPPED: Final = "Internal error occurred: error executing command in container: "
"""What a runtime's streaming server, which is kubelet's, says before its own words, and what we say ourselves."""


class CriSession:
    """Something inside a container, seen over its streams. `output` is to be read for anything to be taken."""

    def __init__(self, streams: SpdyStreams, numbers: dict[str, int]) -> None:
        self._streams = streams
        self._numbers = numbers
        self._outputs = {numbers["stdout"]: STDOUT}
        if "stderr" in numbers:
            self._outputs[numbers["stderr"]] = STDERR
        self._verdict = bytearray()
        self._told = False
        self._over = False

    @classmethod
    async def open(cls, url: str, namespace: str, *, stdin: bool, tty: bool) -> Self:
        """Open the streams of a session that the runtime has prepared at `url`."""
        streams = await SpdyStreams.open(url, namespace)
        names = ["error", *(("stdin",) if stdin else ()), "stdout", "resize" if tty else "stderr"]
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT):
                numbers = {name: await streams.create({"streamtype": name}) for name in names}
                session = cls(streams, numbers)
                await session._accepted()
                return session
        except TimeoutError as error:
            await streams.close()
            raise UnavailableError(f"the runtime did not accept streams within {_OPEN_TIMEOUT:g} s") from error
        except BaseException:
            await streams.close()
            raise

    async def write(self, data: bytes) -> None:
        """Feed the standard input; what nobody takes any more is dropped, as the end shows in the output."""
        await self._send("stdin", data)

    async def end_input(self) -> None:
        """Close the standard input."""
        if "stdin" in self._numbers:
            await self._send("stdin", None)
            del self._numbers["stdin"]

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the terminal."""
        await self._send("resize", json.dumps({"Width": width, "Height": height}).encode() + b"\n")

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what is written until it ends."""
        while self._outputs and (frame := await self._streams.receive()) is not None:
            match frame:
                case Data() if frame.stream in self._outputs:
                    if frame.data:
                        yield self._outputs[frame.stream], frame.data
                    if frame.fin:
                        del self._outputs[frame.stream]
                case Data() if frame.stream == self._numbers["error"]:
                    self._judge(frame)
                case RstStream():
                    self._outputs.pop(frame.stream, None)
                case _:
                    continue
        self._outputs.clear()

    async def close(self) -> None:
        """Close the streams."""
        if not self._over:
            self._over = True
            await self._streams.close()

    async def verdict(self) -> Status:
        """Return how it ended, once its output has."""
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                while not self._told and (frame := await self._streams.receive()) is not None:
                    if isinstance(frame, Data) and frame.stream == self._numbers["error"]:
                        self._judge(frame)
        except TimeoutError as error:
            raise UnavailableError(f"the runtime did not tell the end within {_END_TIMEOUT:g} s") from error
        if not self._told and not self._verdict:
            raise UnavailableError("the runtime's streams broke before the end was told")
        if not self._verdict:
            return Status(status=_SUCCESS, code=200)
        try:
            return msgspec.json.decode(bytes(self._verdict), type=Status)
        except msgspec.DecodeError:
            return Status(message=self._verdict.decode(errors="replace"))

    def _judge(self, frame: Data) -> None:
        self._verdict += frame.data
        self._told |= frame.fin

    async def _accepted(self) -> None:
        """Wait for all streams to be replied to."""
        waiting = set(self._numbers.values())
        while waiting:
            frame = await self._streams.receive()
            if frame is None or isinstance(frame, RstStream):
                raise ContainerError("the runtime refused a stream")
            if isinstance(frame, SynReply):
                waiting.discard(frame.stream)

    async def _send(self, name: str, data: bytes | None) -> None:
        number = self._numbers.get(name)
        if number is None or self._over:
            return
        try:
            await (self._streams.end(number) if data is None else self._streams.write(number, data))
        except UnavailableError:
            self._numbers.pop(name, None)


class CriExec(CriSession):
    """A command that runs inside a container."""

    _find: Callable[[], Awaitable[int]] | None = None

    def found_by(self, find: Callable[[], Awaitable[int]]) -> Self:
        """Keep who tells the command's process, for `kill`."""
        self._find = find
        return self

    async def exit_code(self) -> int:
        """Return the exit code. Raises ContainerError with the runtime's words when the command did not run."""
        verdict = await self.verdict()
        if verdict.status == _SUCCESS:
            return 0
        for cause in verdict.details.causes if isinstance(verdict.details, StatusDetails) else ():
            if cause.reason == _EXIT_CODE and cause.message.isdecimal():
                return int(cause.message)
        raise ContainerError(verdict.message.removeprefix(_WRAPPED) or "the command failed")

    async def kill(self) -> None:
        """Kill the command's first process: CRI has no call for that, and a command outlives its streams."""
        try:
            pid = await self._find() if self._find is not None else 0
        except (ContainerError, UnavailableError) as error:
            _LOG.debug("a command was not killed: %s", error)
            return
        if pid:
            processes.send(pid, signal.SIGKILL)


class CriWholeCommand:
    """A command whose output is asked for as a whole, when it has ended; a cancelled call kills it."""

    def __init__(self, run: Callable[[], Awaitable[tuple[bytes, bytes, int]]]) -> None:
        self._run = run
        self._code = 0

    async def write(self, data: bytes) -> None:
        """Do nothing: there is no input."""

    async def end_input(self) -> None:
        """Do nothing: there is no input."""

    async def resize(self, width: int, height: int) -> None:
        """Do nothing: there is no terminal."""

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Run the command, and yield what it wrote."""
        written, complained, self._code = await self._run()
        if written:
            yield STDOUT, written
        if complained:
            yield STDERR, complained

    async def exit_code(self) -> int:
        """Return its exit code."""
        return self._code

    async def kill(self) -> None:
        """Do nothing: with the end of the call, the command has ended."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""
