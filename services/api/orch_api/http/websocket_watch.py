"""Watches over a WebSocket, as browsers ask for them: each event is one message, text for JSON and binary for protobuf.

Kubernetes' watch speaks no protocol of its own: it echoes the one that the client offers, whichever it is. What the
client sends is not looked at. A client that does not read is cut off with its connection (see connections).
"""

from __future__ import annotations

from collections.abc import Sequence

from orch_api.http.exchange import Disconnected, Exchange, Header, Receive, Scope, Send

_LENGTH = 4


class WebSocketExchange(Exchange):
    """A request for a WebSocket, answered with messages instead of a body; a refusal is a common answer."""

    __slots__ = ("_text",)

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__({**scope, "method": "GET"}, receive, send)
        self._text = True

    async def body(self) -> bytes:
        """Return nothing: such a request has no body."""
        return b""

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "websocket.disconnect":
            pass

    async def answer(
        self, status: int, body: bytes, media_type: str = "application/json", headers: Sequence[Header] = ()
    ) -> None:
        """Refuse the WebSocket with a whole answer."""
        if self.witness is not None:
            self.witness.answered(status, body, media_type)
        fields: list[Header] = [(b"content-type", media_type.encode()), *self.extra, *headers]
        fields.append((b"content-length", b"%d" % len(body)))
        self.started = True
        self.status = status
        self.size = len(body)
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": fields})
        await self._send({"type": "websocket.http.response.body", "body": body})

    async def start(self, media_type: str, headers: Sequence[Header] = ()) -> None:
        """Accept the WebSocket, with the protocol that the client offers."""
        self._text = media_type.startswith("application/json")
        if (await self._receive())["type"] != "websocket.connect":
            raise Disconnected
        offered: list[str] = self.scope.get("subprotocols", [])
        self._begun(101)
        message = {"type": "websocket.accept", "subprotocol": offered[0] if offered else None}
        await self._send({**message, "headers": [*self.extra, *headers]})

    async def write(self, piece: bytes) -> None:
        """Send the events of a piece, each as a message."""
        self.size += len(piece)
        if self._text:
            for line in piece.splitlines():
                await self._send({"type": "websocket.send", "text": line.decode()})
            return
        place = 0
        while place < len(piece):
            start = place + _LENGTH
            place = start + int.from_bytes(piece[place:start], "big")
            await self._send({"type": "websocket.send", "bytes": piece[start:place]})

    async def end(self) -> None:
        """Close the connection normally."""
        await self._send({"type": "websocket.close", "code": 1000})
