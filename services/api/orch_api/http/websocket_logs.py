"""Logs over a WebSocket, as browsers ask for them: pieces of the log are messages, binary or as base64 in text.

The protocols are those of k8s.io/apiserver's wsstream.NewDefaultReaderProtocols; a client may offer none.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

from orch.errors import BadRequestError
from orch_api.http.exchange import Disconnected, Header, Receive, Scope, Send
from orch_api.http.websocket_watch import WebSocketExchange

_BINARY: Final = "binary.k8s.io"
_BASE64: Final = "base64.binary.k8s.io"


class WebSocketLog(WebSocketExchange):
    """A request for a log, whose answer is messages. Raises BadRequestError when no protocol is common."""

    __slots__ = ("_encoded", "_protocol")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        offered: list[str] = scope.get("subprotocols", [])
        chosen = next((one for one in offered if one in {_BINARY, _BASE64}), None)
        if offered and chosen is None:
            spoken = f"[ {_BASE64} {_BINARY}]"  # the first is no protocol at all
            asked = " ".join(offered)
            raise BadRequestError(f"requested protocol(s) are not supported: [{asked}]; supports {spoken}")
        self._protocol = chosen
        self._encoded = chosen == _BASE64

    async def body(self) -> bytes:
        """Take the client's wish to connect: whether it has left again is looked at from now on."""
        if (await self._receive())["type"] != "websocket.connect":
            raise Disconnected
        return b""

    async def answer(
        self, status: int, body: bytes, media_type: str = "application/json", headers: Sequence[Header] = ()
    ) -> None:
        """Answer with a whole log, or refuse the WebSocket."""
        if status != 200:
            await super().answer(status, body, media_type, headers)
            return
        await self.start(media_type, headers)
        if body:
            await self.write(body)
        await self.end()

    async def start(self, media_type: str, headers: Sequence[Header] = ()) -> None:
        """Accept the WebSocket."""
        _ = media_type  # messages have none
        self._begun(101)
        message = {"type": "websocket.accept", "subprotocol": self._protocol}
        await self._send({**message, "headers": [*self.extra, *headers]})

    async def write(self, piece: bytes) -> None:
        """Send a piece of the log as one message."""
        self.size += len(piece)
        if self._encoded:
            await self._send({"type": "websocket.send", "text": base64.b64encode(piece).decode()})
        else:
            await self._send({"type": "websocket.send", "bytes": piece})
