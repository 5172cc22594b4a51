"""port-forward in its forms: SPDY, SPDY in a WebSocket, and a WebSocket with two channels a port."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest
from spdy_client import ResetError, SpdyClient
from websocket_client import WebSocket

from orch.errors import ServiceUnavailableError
from orch_api.http.streams import portforward
from orch_pb.v1 import node_pb2

from .conftest import POD

URL = f"{POD}/portforward"
PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"


async def upper(request: bytes, stream: Any) -> None:
    """Play a pod that shouts back what it is told; nothing listens on port 81."""
    asked = node_pb2.PortForwardRequest.FromString(request)
    assert (asked.pod, asked.own_address) == ("p", False)
    if asked.port == 81:
        raise ServiceUnavailableError("dial tcp 127.0.0.1:81: connect: connection refused")
    async for _, data in stream:
        if data is None:
            break
        await stream.send(0, data.upper())
    await stream.end(0)


async def pair(client: SpdyClient, port: int, request: str) -> tuple[Any, Any]:
    """Open a connection's two streams as kubectl does; return (data, error)."""
    error = await client.open(streamtype="error", port=str(port), requestid=request)
    await error.send(b"", fin=True)
    return await client.open(streamtype="data", port=str(port), requestid=request), error


async def use(client: SpdyClient, uid: str) -> None:
    """Use a port, two connections at a time, and one that nobody listens on."""
    first, errors = await pair(client, 80, "0")
    second, _ = await pair(client, 80, "1")
    await second.send(b"two")
    await first.send(b"one")
    assert (await first.read(), await second.read()) == (b"ONE", b"TWO")
    await first.send(b"", fin=True)
    assert (await first.read_all(), await errors.read_all()) == (b"", b"")
    data, errors = await pair(client, 81, "2")
    told = await errors.read_all()
    problem = "dial tcp 127.0.0.1:81: connect: connection refused"
    assert told.decode() == f"error forwarding port 81 to pod {uid}, uid : {problem}"
    assert await data.read_all() == b""
    await second.send(b"still there")
    assert await second.read() == b"STILL THERE"


async def test_over_spdy(served: Any, pod: Any, node: Any) -> None:
    await node("portforward", upper)
    await use(await served.spdy(URL, PROTOCOL), pod.metadata.uid)


async def test_inside_of_a_websocket(app: Any, pod: Any, node: Any) -> None:
    await node("portforward", upper)
    socket = WebSocket(app, URL, (TUNNEL,))
    running = asyncio.ensure_future(socket.run())
    assert await socket.message() == {"type": "websocket.accept", "subprotocol": TUNNEL}

    async def write(data: bytes) -> None:
        socket.send(data[:7])  # messages and frames need not begin together
        socket.send(data[7:])

    async def read() -> bytes:
        return (await socket.sent.get()).get("bytes") or b""

    client = SpdyClient(write, read)
    await use(client, pod.metadata.uid)
    socket.leave()
    await running
    await client.close()


async def test_the_server_accepts_kubectls_subprotocol(served: Any, pod: Any) -> None:
    wire = await served.connect()
    await wire.ask(
        f"GET {URL} HTTP/1.1\nHost: api\nAuthorization: Bearer secret\nConnection: Upgrade\nUpgrade: websocket\n"
        f"Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Protocol: {TUNNEL}\n"
    )
    assert (wire.status, wire.header("sec-websocket-protocol")) == (101, TUNNEL)


async def test_two_channels_a_port(app: Any, pod: Any, node: Any) -> None:
    await node("portforward", upper)
    socket = WebSocket(app, f"{URL}?ports=80&ports=81,82", ("v4.channel.k8s.io",))
    running = asyncio.ensure_future(socket.run())
    assert (await socket.message())["type"] == "websocket.accept"
    for channel, port in enumerate((80, 80, 81, 81, 82, 82)):
        assert await socket.data() == bytes((channel,)) + struct.pack("<H", port)
    refused = await socket.data()
    assert refused[0] == 3
    assert b"error forwarding port 81 to pod" in refused
    socket.say(4, b"b")
    assert await socket.data() == b"\x04B"
    socket.say(0, b"a")
    assert await socket.data() == b"\x00A"
    socket.say(9, b"no such channel")
    socket.leave()
    await running


async def test_the_websocket_ends_with_its_last_port(app: Any, pod: Any, node: Any) -> None:
    async def once(request: bytes, stream: Any) -> None:
        await stream.send(0, b"bye")
        await stream.end(0)
        await anext(stream)

    await node("portforward", once)
    socket = WebSocket(app, f"{URL}?ports=80", ("v4.channel.k8s.io",))
    running = asyncio.ensure_future(socket.run())
    for _ in range(3):
        await socket.message()
    assert await socket.data() == b"\x00bye"
    assert (await socket.message())["type"] == "websocket.close"
    await running


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"streamtype": "data"},
        {"streamtype": "data", "port": "x"},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "65536"},
        {"streamtype": "what", "port": "80"},
    ],
)
async def test_streams_that_say_nothing_sensible(served: Any, pod: Any, headers: dict[str, str]) -> None:
    client = await served.spdy(URL, PROTOCOL)
    with pytest.raises(ResetError):
        await client.open(**headers)


async def test_a_request_has_two_streams_and_no_more(served: Any, pod: Any, node: Any) -> None:
    await node("portforward", upper)
    client = await served.spdy(URL, PROTOCOL)
    data, _ = await pair(client, 80, "7")
    with pytest.raises(ResetError):
        await client.open(streamtype="data", port="80", requestid="7")
    await data.send(b"x")
    assert await data.read() == b"X"


async def test_a_stream_without_its_twin_is_given_up(served: Any, pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portforward, "_PAIR_DEADLINE", 0.05)
    client = await served.spdy(URL, PROTOCOL)
    error = await client.open(streamtype="error", port="80", requestid="1")
    assert b"timed out waiting for streams" in await error.read_all()


async def test_older_clients_have_no_request_ids(served: Any, pod: Any, node: Any) -> None:
    await node("portforward", upper)
    client = await served.spdy(URL)
    await client.open(streamtype="error", port="80")
    data = await client.open(streamtype="data", port="80")
    await data.send(b"old")
    assert await data.read() == b"OLD"


async def test_a_local_connection_that_breaks_ends_the_pods(served: Any, pod: Any, node: Any) -> None:
    ended = asyncio.Event()

    async def wait(request: bytes, stream: Any) -> None:
        try:
            async for _ in stream:
                pass
        finally:
            ended.set()

    await node("portforward", wait)
    client = await served.spdy(URL, PROTOCOL)
    data, errors = await pair(client, 80, "0")
    await data.send(b"x")
    await data.reset()
    assert await errors.read_all() == b""
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_client_that_leaves_ends_every_connection(served: Any, pod: Any, node: Any) -> None:
    open_now = 0

    async def count(request: bytes, stream: Any) -> None:
        nonlocal open_now
        open_now += 1
        try:
            async for _ in stream:
                pass
        finally:
            open_now -= 1

    await node("portforward", count)
    wire = await served.upgrade(URL, PROTOCOL)
    client = SpdyClient(wire.write, wire.read)
    for request in range(5):
        data, _ = await pair(client, 80, str(request))
        await data.send(b"x")
    async with asyncio.timeout(5):
        while open_now < 5:  # noqa: ASYNC110 - a number has no event
            await asyncio.sleep(0.01)
        wire.writer.close()
        while open_now:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    await client.close()


@pytest.mark.parametrize("query", ["", "ports=x", "ports=0", "ports=65536", "ports=" + ",".join(["80"] * 65)])
async def test_ports_that_make_no_sense(app: Any, pod: Any, query: str) -> None:
    socket = WebSocket(app, f"{URL}?{query}", ("v4.channel.k8s.io",))
    await socket.run()
    assert (await socket.message())["status"] == 400


async def test_who_may_not_forward_and_what_is_not_spoken(served: Any, app: Any, pod: Any) -> None:
    assert (await served.upgrade(URL, PROTOCOL, token="weak")).status == 403
    refused = await served.upgrade(URL, "other.k8s.io")
    assert (refused.status, refused.header("x-accepted-stream-protocol-versions")) == (403, PROTOCOL)
    assert (await served.upgrade("/api/v1/namespaces/default/pods/q/portforward", PROTOCOL)).status == 404
    socket = WebSocket(app, f"{URL}?ports=80", ("what",))
    await socket.run()
    assert (await socket.message())["status"] == 400
    plain = await served.connect()
    await plain.ask(f"POST {URL} HTTP/1.1\nHost: a\nAuthorization: Bearer secret\nContent-Length: 0\n")
    assert json.loads(await plain.body())["message"] == "Upgrade request required"
