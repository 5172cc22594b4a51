"""A client that calls the api's HTTP application as its server does, without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from orch_api.http.server import PEER

ADMIN = {"subject": ((("commonName", "orch:admin"),), (("organizationName", "system:masters"),))}


class Answer:
    """What was answered, as far as it has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The whole lines of a watch."""
        return [json.loads(line) for line in self.body.split(b"\n")[:-1]]


class Connection:
    """One client's connection to the application."""

    def __init__(self, app: Any, peer: Any = ADMIN) -> None:
        self._app = app
        self._peer = peer

    def scope(self, method: str, url: str, headers: dict[str, str]) -> dict[str, Any]:
        path, _, query = url.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 6443),
            PEER: self._peer,
        }

    async def __call__(self, method: str, url: str, body: Any = None, **headers: str) -> Answer:
        """Send a request and return the whole answer."""
        answer, leave = Answer(), asyncio.Event()
        await self._serve(method, url, body, headers, answer, leave)
        return answer

    def begin(self, method: str, url: str, **headers: str) -> tuple[Answer, asyncio.Task[None], asyncio.Event]:
        """Start a request that lasts; setting the event is the client's leaving."""
        answer, leave = Answer(), asyncio.Event()
        return answer, asyncio.ensure_future(self._serve(method, url, None, headers, answer, leave)), leave

    async def _serve(
        self, method: str, url: str, body: Any, headers: dict[str, str], answer: Answer, leave: asyncio.Event
    ) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if data:
            sent.setdefault("content-type", "application/json")
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                answer.ended = not message.get("more_body", False)

        await self._app(self.scope(method, url, sent), receive, send)
