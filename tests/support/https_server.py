"""An HTTPS server of a few lines on 127.0.0.1: what webhooks and aggregated APIs are to the api."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
from certificates import Files


class Asked:
    """One request."""

    def __init__(self, head: h11.Request, body: bytes) -> None:
        self.method = head.method.decode()
        self.target = head.target.decode()
        self.headers = [(name.decode(), value.decode()) for name, value in head.headers]
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for known, value in self.headers if known == name]


Answering = Callable[[Asked], Awaitable[tuple[int, Any]]]
"""Returns a status, and what is sent as JSON: one value, or the pieces of an iterator as they come."""


@asynccontextmanager
async def https_server(files: Files, answer: Answering) -> AsyncIterator[int]:
    """Serve until the context ends; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)

    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await _exchange(reader, writer, answer)
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass  # the client has seen enough, or the test has
        finally:
            writer.transport.abort()
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answering) -> None:
    state = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    body = b""
    while True:
        event = state.next_event()
        if event is h11.NEED_DATA:
            state.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            break
    if head is None:
        return
    status, content = await answer(Asked(head, body))

    async def send(event: Any) -> None:
        writer.write(state.send(event) or b"")
        await writer.drain()

    await send(
        h11.Response(status_code=status, headers=[("content-type", "application/json"), ("connection", "close")])
    )
    if hasattr(content, "__aiter__"):
        async for piece in content:
            await send(h11.Data(data=json.dumps(piece).encode() + b"\n"))
    else:
        await send(h11.Data(data=json.dumps(content).encode()))
    await send(h11.EndOfMessage())
