from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network

import pytest

from orch_cli.doorway import Doorway

LOOPBACK = IPv4Network("127.0.0.0/8")


@asynccontextmanager
async def doorway(clients: IPv4Network = LOOPBACK) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(Doorway(clients).serve(listener))
    try:
        yield listener.getsockname()[1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int, request: bytes, then: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        writer.write(request + then)
        writer.write_eof()
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_node_reaches_what_it_asks_for() -> None:
    body = b"hello" * 100_000
    async with echo_server() as far, doorway() as near:
        answer = await ask(near, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % far, body)
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n" + body.upper()


async def test_a_pod_is_refused() -> None:
    async with echo_server() as far, doorway(IPv4Network("10.245.0.0/16")) as near:
        answer = await ask(near, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % far)
    assert answer == b"HTTP/1.1 403 Forbidden\r\n\r\n"


@pytest.mark.parametrize(
    "request_head", [b"GET http://127.0.0.1/ HTTP/1.1", b"CONNECT 127.0.0.1 HTTP/1.1", b"CONNECT :443 HTTP/1.1", b"x"]
)
async def test_anything_but_connect_is_refused(request_head: bytes) -> None:
    async with doorway() as near:
        assert await ask(near, request_head + b"\r\n\r\n") == b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"


async def test_what_cannot_be_reached_is_a_bad_gateway() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with doorway() as near:
        answer = await ask(near, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
    assert answer == b"HTTP/1.1 502 Bad Gateway\r\n\r\n"


@pytest.mark.parametrize("nonsense", [b"", b"CONNECT", b"A" * 100_000])
async def test_nonsense_ends_only_its_own_connection(nonsense: bytes) -> None:
    async with echo_server() as far, doorway() as near:
        with contextlib.suppress(ConnectionResetError):
            assert await ask(near, nonsense) == b""
        assert b"200" in await ask(near, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % far)
