"""What is fed to a container or a command, given to its monitor (conmon) directly instead of through Podman.

Podman ends a session as soon as it cannot pass input on: of a command that ends before it has read all of its input, it
then loses the last of the output, and puts words of its own into it. So Podman's connection carries output alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_SOCKET: Final = "attach"
_LONGEST: Final = 32 << 10
"""Bytes of a packet, of which conmon reads no more."""


class MonitorInput:
    """A connection to the socket in `folder`, made when there is something to feed; None: there is no such folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._socket: socket.socket | None = None
        self._over = False

    async def write(self, data: bytes) -> bool:
        """Feed, waiting as long as it is not taken; False if there is no monitor to be reached.

        What comes after the end of who reads it is dropped: that shows in the output.
        """
        connected = await self._connected()
        if connected is None:
            return False
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view and not self._over:
            try:
                await loop.sock_sendall(connected, view[:_LONGEST])
            except OSError as error:
                self._over = True
                _LOG.debug("who was fed has ended: %s", error)
            view = view[_LONGEST:]
        return True

    async def end(self) -> bool:
        """Say that nothing more comes; False if there is no monitor to be reached."""
        connected = await self._connected()
        if connected is None:
            return False
        try:
            connected.shutdown(socket.SHUT_WR)
        except OSError as error:
            _LOG.debug("who was to be fed has ended: %s", error)
        return True

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    async def _connected(self) -> socket.socket | None:
        """Return the connection, which is tried once."""
        folder, self._folder = self._folder, None
        if folder is not None:
            self._socket = made = await asyncio.to_thread(_connect, folder)
            if made is not None:
                # Output goes to all who are connected, and waits for one that does not read it.
                asyncio.get_running_loop().add_reader(made, self._discard, made)
        return self._socket

    @staticmethod
    def _discard(connected: socket.socket) -> None:
        """Read what is written, for which there is another connection."""
        try:
            more = bool(connected.recv(_LONGEST))
        except BlockingIOError:
            return
        except OSError:
            more = False
        if not more:
            asyncio.get_running_loop().remove_reader(connected)


def _connect(folder: Path) -> socket.socket | None:
    """Return a connection; None, and a line in the log, if nobody takes it."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # The path itself is longer than a socket's may be.
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            made.connect(f"/proc/self/fd/{place}/{_SOCKET}")
        finally:
            os.close(place)
    except OSError as error:
        made.close()
        _LOG.debug("no monitor takes input in %s: %s", folder, error)
        return None
    made.setblocking(False)
    return made
