"""WebSockets as Kubernetes uses them: messages of numbered channels, and messages that are pieces of a byte stream.

Each message of a channel protocol is one byte naming the channel, then data; in the base64 forms, one digit and base64.
Version 5 adds channel 255: its data names the channel that the client has closed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from orch.errors import BadRequestError, StreamClosedError
from orch_api.http.exchange import Receive, Scope, Send
from orch_api.http.links import STALLED

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ERROR: Final = 3
RESIZE: Final = 4
CLOSE: Final = 255

COMMANDS: Final = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
"""What exec and attach speak. Those without a version end with a message instead of a Status."""
PORTS: Final = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
"""What port-forward speaks when each port has its two channels."""
TUNNELS: Final = ("SPDY/3.1+portforward.k8s.io", "v2.portforward.k8s.io")
"""What port-forward speaks when the messages carry SPDY/3.1."""


class WebSocket:
    """An accepted WebSocket."""

    def __init__(self, receive: Receive, send: Send, protocol: str) -> None:
        self._receive = receive
        self._send = send
        self.protocol = protocol
        self.gone = False
        self._closed = False

    @classmethod
    async def accept(cls, scope: Scope, receive: Receive, send: Send, spoken: Sequence[str]) -> WebSocket:
        """Accept the connection with the first protocol of `spoken` that the client offers. Raises BadRequestError.

        A client that offers none at all gets the oldest of the channel protocols, if that is among them.
        """
        offered: list[str] = scope.get("subprotocols", [])
        protocol = next((known for known in spoken if known in offered), None)
        if protocol is None and (offered or "channel.k8s.io" not in spoken):
            raise BadRequestError(
                f"unable to negotiate protocol: client supports {_list(offered)}, server {_list(spoken)}"
            )
        message = await receive()
        if message["type"] != "websocket.connect":
            raise BadRequestError("the connection was closed before it was accepted")
        await send({"type": "websocket.accept", "subprotocol": protocol})
        return cls(receive, send, protocol or "channel.k8s.io")

    async def receive(self) -> bytes | None:
        """Return the next message, None when the client has left."""
        if self.gone:
            return None
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self.gone = True
            return None
        return message.get("bytes") or (message.get("text") or "").encode()

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send a message; nothing once the client has left. Raises StreamClosedError when it takes nothing."""
        if self.gone or self._closed:
            return
        message = {"type": "websocket.send", **({"text": data.decode()} if text else {"bytes": data})}
        try:
            async with asyncio.timeout(STALLED):
                await self._send(message)
        except TimeoutError as error:
            self.gone = True
            raise StreamClosedError(f"the client took nothing for {STALLED:g} s") from error
        except OSError as error:
            self.gone = True
            raise StreamClosedError("the client has left") from error

    async def close(self) -> None:
        """Close the connection normally."""
        if self.gone or self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(STALLED):
                await self._send({"type": "websocket.close", "code": 1000})
        except (TimeoutError, OSError):
            self.gone = True


class Channels:
    """A WebSocket whose messages belong to numbered channels."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._base64 = "base64" in socket.protocol

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._socket.gone

    @property
    def versioned(self) -> bool:
        """Whether the protocol is one that ends with a Status."""
        return self._socket.protocol.startswith("v")

    def __aiter__(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield (channel, data) until the client leaves, or says what cannot be understood."""
        return self._messages()

    async def _messages(self) -> AsyncGenerator[tuple[int, bytes]]:
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            if not self._base64:
                yield message[0], message[1:]
                continue
            try:
                yield message[0] - ord("0"), base64.b64decode(message[1:])
            except binascii.Error:
                return

    async def send(self, channel: int, data: bytes) -> None:
        """Send data on a channel. Raises StreamClosedError when the client takes nothing."""
        if self._base64:
            await self._socket.send(b"%d" % channel + base64.b64encode(data), text=True)
        else:
            await self._socket.send(bytes((channel,)) + data)

    async def close(self) -> None:
        """Close the connection normally."""
        await self._socket.close()


class WebSocketLink:
    """A WebSocket whose messages are pieces of one byte stream: a Link."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """Return the next piece, b"" when the client has left."""
        while (message := await self._socket.receive()) is not None:
            if message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        """Send a piece. Raises StreamClosedError."""
        if self._socket.gone:
            raise StreamClosedError("the client has left")
        await self._socket.send(data)

    async def end(self) -> None:
        """Do nothing: a WebSocket cannot be closed by halves."""

    async def close(self) -> None:
        """Close the connection normally."""
        await self._socket.close()


def _list(protocols: Sequence[str]) -> str:
    return f"[{' '.join(protocols)}]"
