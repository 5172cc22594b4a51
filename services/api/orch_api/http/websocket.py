"""Kubernetes' channel protocols over WebSocket: `v5.channel.k8s.io` and `v4.channel.k8s.io`.

Each binary message is one byte naming the channel, then data. Version 5 adds channel 255: its data names the channel
that the client has closed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from orch.errors import BadRequestError
from orch_api.http.exchange import Receive, Scope, Send

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ERROR: Final = 3
RESIZE: Final = 4
CLOSE: Final = 255

_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Channels:
    """An accepted WebSocket that carries channels."""

    def __init__(self, receive: Receive, send: Send, protocol: str) -> None:
        self._receive = receive
        self._send = send
        self.protocol = protocol
        self.gone = False
        self._closed = False

    @classmethod
    async def accept(cls, scope: Scope, receive: Receive, send: Send, first: int) -> Channels:
        """Accept the connection with the newest protocol that both speak. Raises BadRequestError when there is none.

        An empty message on `first`, the lowest channel that will be written, tells the client that it stands.
        """
        offered: list[str] = scope.get("subprotocols", [])
        protocol = next((known for known in _PROTOCOLS if known in offered), None)
        if protocol is None:
            raise BadRequestError(f"unable to negotiate a channel protocol; supported: {', '.join(_PROTOCOLS)}")
        message = await receive()
        if message["type"] != "websocket.connect":
            raise BadRequestError("the connection was closed before it was accepted")
        channels = cls(receive, send, protocol)
        await send({"type": "websocket.accept", "subprotocol": protocol})
        await channels.send(first, b"")
        return channels

    def __aiter__(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield (channel, data) until the client leaves."""
        return self._messages()

    async def _messages(self) -> AsyncGenerator[tuple[int, bytes]]:
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                self.gone = True
                return
            data = message.get("bytes") or (message.get("text") or "").encode()
            if data:
                yield data[0], data[1:]

    async def send(self, channel: int, data: bytes) -> None:
        """Send data on a channel; nothing once the client has left."""
        if not (self.gone or self._closed):
            await self._send({"type": "websocket.send", "bytes": bytes((channel,)) + data})

    async def close(self) -> None:
        """Close the connection normally."""
        if not (self.gone or self._closed):
            self._closed = True
            await self._send({"type": "websocket.close", "code": 1000})
