"""A client's WebSocket to the api's application, called as its server calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from asgi import ADMIN

from orch_api.http.server import PEER


class WebSocket:
    """One connection; what the application sends waits in `sent`."""

    def __init__(
        self, app: Any, url: str, protocols: Sequence[str] = ("v5.channel.k8s.io",), peer: Any = ADMIN
    ) -> None:
        path, _, query = url.partition("?")
        self.scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [],
            "subprotocols": list(protocols),
            PEER: peer,
        }
        self.app = app
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})

    async def run(self) -> None:
        await self.app(self.scope, self.incoming.get, self.sent.put)

    def say(self, channel: int, data: bytes) -> None:
        """Send on a channel."""
        self.send(bytes((channel,)) + data)

    def send(self, data: bytes) -> None:
        """Send a binary message."""
        self.incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        """Close the connection."""
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def message(self) -> dict[str, Any]:
        """Return what the application sent next."""
        async with asyncio.timeout(10):
            return await self.sent.get()

    async def data(self) -> bytes:
        """Return the next binary message, b"" when the application has closed."""
        return (await self.message()).get("bytes") or b""
