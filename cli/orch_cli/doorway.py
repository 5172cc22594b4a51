"""The nodes' one way out, for pulling images: an HTTP proxy that stands with one foot in the fabric's namespace.

Nodes have no route outward. Where images come from real registries, Podman's pulls pass through here: the listening
socket is the fabric's, the connections that it asks for are made in the namespace that this process was started in.
Only nodes are served, by their address on the fabric. Pods have others, to which the fabric has no way back; should
it ever get one, they are refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from orch.errors import UnavailableError

_log = logging.getLogger(__name__)

_CLONE_NEWNET: Final = 0x40000000
_HEAD_LIMIT: Final = 16 << 10
_HEAD_SECONDS: Final = 10.0
_DIAL_SECONDS: Final = 15.0
_IDLE_SECONDS: Final = 300.0
_PIECE: Final = 64 << 10
_CONNECTIONS: Final = 256


def main(arguments: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="orch-doorway", description=__doc__)
    parser.add_argument("--namespace", required=True, type=Path, help="the network namespace to listen in")
    parser.add_argument("--listen", required=True, help="ADDRESS:PORT in that namespace")
    parser.add_argument("--clients", required=True, type=IPv4Network, help="the range of those who are served")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    host, _, port = parsed.listen.rpartition(":")
    listener = in_namespace(parsed.namespace, lambda: socket.create_server((host, int(port))))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Doorway(parsed.clients).serve(listener))


def in_namespace(namespace: Path, make: Callable[[], socket.socket]) -> socket.socket:
    """Return what `make` returns inside a network namespace. A socket stays in the one that it was made in."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def enter_and_make() -> None:
        try:
            _enter(namespace)
            made.append(make())
        except OSError as error:
            failed.append(error)

    # A namespace belongs to a thread: this one enters it and ends, the others never leave theirs.
    thread = threading.Thread(target=enter_and_make)
    thread.start()
    thread.join()
    if failed:
        raise UnavailableError(f"cannot listen in {namespace}: {failed[0]}") from failed[0]
    return made[0]


def _enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    finally:
        os.close(descriptor)


class Doorway:
    """An HTTP proxy for CONNECT, and for nothing else."""

    def __init__(self, clients: IPv4Network) -> None:
        self._clients = clients
        self._places = asyncio.Semaphore(_CONNECTIONS)

    async def serve(self, listener: socket.socket) -> None:
        """Serve connections for ever."""
        server = await asyncio.start_server(self._handle, sock=listener, limit=_HEAD_LIMIT)
        async with server:
            await server.serve_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._places:
                await self._handle_one(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.info("a connection ended: %r", error)
        finally:
            writer.close()

    async def _handle_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ipaddress.IPv4Address(writer.get_extra_info("peername")[0])
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b" ")
        host, _, port = rest.split(b" ", 1)[0].decode("latin-1").rpartition(":")
        if peer not in self._clients:
            _log.warning("%s asked for %s:%s and is not a node", peer, host, port)
            await _answer(writer, "403 Forbidden")
        elif method != b"CONNECT" or not host or not port.isdecimal():
            await _answer(writer, "405 Method Not Allowed")
        else:
            await self._connect(reader, writer, host.strip("[]"), int(port))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            _log.info("%s:%d cannot be reached: %r", host, port, error)
            await _answer(writer, "502 Bad Gateway")
            return
        try:
            await _answer(writer, "200 Connection established")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, far_writer))
                tasks.create_task(_copy(far_reader, writer))
        except* (OSError, TimeoutError) as group:
            _log.info("the connection to %s:%d ended: %r", host, port, group.exceptions[0])
        finally:
            far_writer.close()


async def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
    await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends; a side that is silent for long has gone."""
    while True:
        async with asyncio.timeout(_IDLE_SECONDS):
            piece = await reader.read(_PIECE)
        if not piece:
            break
        writer.write(piece)
        async with asyncio.timeout(_IDLE_SECONDS):
            await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


if __name__ == "__main__":
    main()
