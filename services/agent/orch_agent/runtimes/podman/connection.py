"""Requests to Podman's REST service, each over a connection of its own to the service's socket.

A pod's start takes half a dozen of them. Podman's own client is synchronous: its threads, sessions and adapters cost
the agent more than all else that it does for a pod, where a connection to a socket costs next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import msgspec

from orch.errors import UnavailableError
from orch_agent.runtimes.protocol import ContainerError

_LOG: Final = logging.getLogger(__name__)
API_VERSION: Final = "4.0.0"
_AT_ONCE: Final = 8
"""More requests under way would only wait for Podman's own locks."""
_TIMEOUT: Final = 60.0
_GONE: Final = "no such container"
"""How a failure inside of Podman ends when the container went while the request was worked on."""
_LONGEST_HEAD: Final = 64 << 10
_LONGEST_ANSWER: Final = 64 << 20

Document = dict[str, Any]


class MissingError(ContainerError):
    """What was asked for does not exist."""


class Connection:
    """A node's Podman service, as requests are made of it. Streams open connections of their own (`wire`)."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def call(self, method: str, path: str, body: Document | None = None) -> Document:
        """Make a request and return the answer's document, {} when it has none.

        Raises MissingError for what does not exist or goes meanwhile, ContainerError for other refusals, and
        UnavailableError when no answer comes.
        """
        async with self._free:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    status, content = await self._request(method, path, body)
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                reason = str(error) or f"no answer within {_TIMEOUT:.0f} s"
                raise UnavailableError(f"Podman does not answer on {self.socket}: {reason}") from error
        if status >= 400:
            problem = _problem(status, content)
            raise MissingError(problem) if status == 404 or problem.endswith(_GONE) else ContainerError(problem)
        try:
            return msgspec.json.decode(content) if content.strip() else {}
        except msgspec.DecodeError as error:
            raise UnavailableError(f"Podman does not answer on {self.socket} as it should: {error}") from error

    async def finish(self, method: str, path: str, body: Document | None = None) -> Document:
        """Make a request that changes something. When cancelled, wait for its end first: it cannot be called back."""
        call = asyncio.ensure_future(self.call(method, path, body))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            if not call.cancelled() and (error := call.exception()) is not None:
                _LOG.debug("a cancelled request failed: %s", error)
            raise

    async def _request(self, method: str, path: str, body: Document | None) -> tuple[int, bytes]:
        """Return the answer's status and content. HTTP/1.0: the end of the connection is the answer's end."""
        content = b"" if body is None else msgspec.json.encode(body)
        head = (
            f"{method} /v{API_VERSION}/libpod{path} HTTP/1.0\r\nHost: podman\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=_LONGEST_HEAD)
        try:
            writer.write(head.encode() + content)
            answered = await reader.readuntil(b"\r\n\r\n")
            parts: list[bytes] = []
            size = 0
            while part := await reader.read(_LONGEST_HEAD):
                parts.append(part)
                size += len(part)
                if size > _LONGEST_ANSWER:
                    raise ValueError(f"its answer is longer than {_LONGEST_ANSWER} bytes")
        finally:
            writer.close()
        whole = b"".join(parts)
        status, length = _read_head(answered)
        if length is not None and len(whole) < length:
            raise ValueError(f"its answer ended after {len(whole)} of {length} bytes")
        return status, whole


def _read_head(head: bytes) -> tuple[int, int | None]:
    """Return an answer's status, and its length if that is told. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[1].isdecimal():
        raise ValueError(f"{first!r} is no answer")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = fields.get("content-length", "")
    return int(words[1]), int(length) if length.isdecimal() else None


class _Problem(msgspec.Struct, frozen=True):
    message: str = ""
    cause: str = ""


def _problem(status: int, content: bytes) -> str:
    """Return what an answer says went wrong."""
    text = content.decode(errors="replace").strip()
    try:
        told = msgspec.json.decode(content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text or f"HTTP {status}"
    return told.message or told.cause or text
