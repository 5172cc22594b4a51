"""Connections to ports of pods, made from inside the network that the pod is in.

A socket stays in the network namespace in which it was made; so a thread enters the namespace, makes the socket, and
ends. Everything after that is plain asyncio.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from orch.errors import OrchError

_CONNECT_TIMEOUT: Final = 10.0
_WRITE_TIMEOUT: Final = 300.0
_CLOSE_TIMEOUT: Final = 5.0
_CHUNK: Final = 64 << 10
_CLONE_NEWNET: Final = 0x4000_0000
_libc: Final = ctypes.CDLL(None, use_errno=True)


class DialError(OrchError):
    """No connection could be made, or it broke; the message says to what and why, as Go words it."""


class Connection(Protocol):
    """A connection to a port of a pod. Every method may raise DialError once the pod's end is gone."""

    async def read(self) -> bytes:
        """Return what came next, b"" when nothing more will come."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more."""
        ...

    async def end(self) -> None:
        """Send nothing more; go on reading."""
        ...

    async def close(self) -> None:
        """Close both directions."""
        ...


class TcpConnection:
    """A connection over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what came next."""
        try:
            return await self._reader.read(_CHUNK)
        except OSError as error:
            raise DialError(f"read: {_reason(error)}") from error

    async def write(self, data: bytes) -> None:
        """Send. A pod that takes nothing for minutes is given up."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(_WRITE_TIMEOUT):
                await self._writer.drain()
        except TimeoutError as error:
            raise DialError(f"write: i/o timeout after {_WRITE_TIMEOUT:g} s") from error
        except OSError as error:
            raise DialError(f"write: {_reason(error)}") from error

    async def end(self) -> None:
        """Close the sending half."""
        if not self._writer.is_closing():
            try:
                self._writer.write_eof()
            except OSError as error:
                raise DialError(f"close write: {_reason(error)}") from error

    async def close(self) -> None:
        """Close both halves."""
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            return  # the pod was faster; closed is closed


async def connect(namespace: str, addresses: Sequence[str], port: int) -> TcpConnection:
    """Connect to the first of `addresses` that answers, from inside a network namespace, a path ("" for our own).

    Raises DialError.
    """
    problems: list[str] = []
    loop = asyncio.get_running_loop()
    for address in addresses:
        try:
            # A thread of its own, that ends: one that had entered a namespace must not serve anyone else.
            with ThreadPoolExecutor(1, thread_name_prefix="netns") as pool:
                made = await loop.run_in_executor(pool, _socket_in, namespace, ":" in address)
        except OSError as error:
            raise DialError(f"network namespace {namespace!r}: {_reason(error)}") from error
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await loop.sock_connect(made, (address, port))
                return TcpConnection(*await asyncio.open_connection(sock=made))
        except TimeoutError:
            made.close()
            problems.append(unreached(address, port, "i/o timeout"))
        except OSError as error:
            made.close()
            problems.append(unreached(address, port, f"connect: {_reason(error)}"))
        except BaseException:
            made.close()
            raise
    raise DialError("; ".join(problems))


async def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a host, which may be one. Raises DialError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise DialError(f"dial tcp: lookup {host}: i/o timeout") from error
    except (OSError, UnicodeError) as error:
        raise DialError(f"dial tcp: lookup {host}: no such host") from error
    return [str(address[0]) for *_, address in found]


def unreached(address: str, port: int, why: str) -> str:
    """Return what is said of an address that could not be connected to."""
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"dial tcp {where}: {why}"


def _socket_in(namespace: str, over_six: bool) -> socket.socket:
    """Return a socket that belongs to a network namespace. Leaves the thread in it."""
    if namespace:
        entrance = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(entrance, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(entrance)
    made = socket.socket(socket.AF_INET6 if over_six else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _reason(error: OSError) -> str:
    """Return an error as Go's syscall package words it."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
