"""Connections that ask too much, or too slowly, over a socket."""

import asyncio
import json

import pytest
from asgi import ADMIN

from orch_api.http.connections import HEAD_SECONDS, MAX_HEAD, READ_SECONDS, look_after
from orch_api.http.server import PEER, listen, server

NS = "/api/v1/namespaces/default"


def config_map(name, **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


class Client:
    """A client that sends and reads bytes as a test wishes."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self):
        """Return an answer's status and body."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            return int(head[9:12]), await self.reader.readexactly(length)

    async def ended(self):
        """Read until the server has closed the connection."""
        async with asyncio.timeout(10):
            try:
                while await self.reader.read(1 << 20):
                    pass
            except ConnectionError:
                pass


class Site:
    """A server on a socket, whose clients are the administrator's."""

    def __init__(self, app):
        self._listener = listen("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self._clients = []

        async def as_admin(scope, receive, send):
            scope[PEER] = ADMIN
            await app(scope, receive, send)

        self.server = server(as_admin, certificate="", key="", client_ca="")
        self._serving = asyncio.ensure_future(self.server.serve(sockets=[self._listener]))

    async def connect(self, limit=1 << 16):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        self._clients.append(writer)
        return Client(reader, writer)

    @property
    def connections(self):
        return self.server.server_state.connections

    def later(self, seconds):
        """Let the server look after its connections as if so much time had passed."""
        look_after(self.connections, asyncio.get_running_loop().time() + seconds)

    async def close(self):
        for writer in self._clients:
            writer.transport.abort()
        self.server.should_exit = True
        self.server.force_exit = True
        await self._serving
        self._listener.close()


@pytest.fixture
async def site(app, eventually):
    site = Site(app)
    await eventually(lambda: site.server.started)
    yield site
    await site.close()


def get(path, *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def test_a_body_that_breaks_off(site, http, eventually):
    client = await site.connect()
    await client.send(b"POST %s/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{" % NS.encode())
    await eventually(lambda: any(c.cycle is not None for c in site.connections))
    client.writer.close()
    await eventually(lambda: not site.connections)
    assert (await http("GET", f"{NS}/configmaps")).json["items"] == []


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http(site, garbage):
    client = await site.connect()
    await client.send(garbage)
    assert (await client.answer())[0] == 400
    await client.ended()


async def test_a_body_without_end(site):
    client = await site.connect()
    head = f"POST {NS}/configmaps HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head.encode())
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    for _ in range(4):
        await client.send(chunk)
    status, body = await client.answer()
    assert (status, json.loads(body)["message"]) == (413, "Request entity too large: limit is 3145728")


async def test_headers_without_end(site):
    client = await site.connect()
    await client.send(b"GET /readyz HTTP/1.1\r\n")
    try:
        for number in range(MAX_HEAD // 1000 + 100):
            await client.send(b"x-%d: %s\r\n" % (number, b"y" * 1000))
    except ConnectionError:
        pass
    await client.ended()
    fine = await site.connect()
    await fine.send(get("/livez", *(f"x-{number}: y" for number in range(100))))
    assert await fine.answer() == (200, b"ok")


async def test_a_target_without_end(site):
    client = await site.connect(limit=1 << 22)
    try:
        await client.send(b"GET /%s" % (b"a" * (MAX_HEAD + 1)))
        status, _ = await client.answer()
    except ConnectionError:
        status = 431  # closed before it was read
    assert status == 431


async def test_a_head_that_does_not_come(site, eventually):
    silent, begun, fine = await site.connect(), await site.connect(), await site.connect()
    await begun.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n")
    await fine.send(get("/livez"))
    assert await fine.answer() == (200, b"ok")
    await eventually(lambda: len(site.connections) == 3)
    site.later(HEAD_SECONDS - 1)
    assert len(site.connections) == 3
    site.later(HEAD_SECONDS + 1)
    await silent.ended()
    await begun.ended()
    await fine.send(get("/livez"))  # between requests it may be silent for longer
    assert await fine.answer() == (200, b"ok")


def waiting(site):
    """Return the bytes that wait for clients to read them."""
    return [connection.transport.get_write_buffer_size() for connection in site.connections]


async def test_a_watch_that_nobody_reads(site, http, eventually, figures):
    watches = frozenset(
        {
            "verb": "WATCH",
            "group": "",
            "version": "v1",
            "resource": "configmaps",
            "subresource": "",
            "scope": "namespace",
            "component": "apiserver",
        }.items()
    )
    slow, quick = await site.connect(limit=1024), await site.connect(limit=1 << 24)
    for client in (slow, quick):
        await client.send(get(f"{NS}/configmaps?watch=1"))
        await client.reader.readuntil(b"\r\n\r\n")
    reading = asyncio.ensure_future(quick.ended())
    created = 0
    while not any(size > 1 << 16 for size in waiting(site)):
        body = config_map(f"c{created}", data={"a": "x" * 500_000})
        assert (await http("POST", f"{NS}/configmaps", body)).status == 201
        await http("DELETE", f"{NS}/configmaps/c{created}")
        created += 1
        assert created < 100
    for number in range(30):  # more than it could hold is not kept for it
        await http("POST", f"{NS}/configmaps", config_map(f"d{number}", data={"a": "x" * 100_000}))
    assert max(waiting(site)) < 5 << 20
    assert (await figures("apiserver_longrunning_requests"))[watches] == 2
    site.later(0)
    site.later(READ_SECONDS + 1)
    await eventually(lambda: len(site.connections) == 1)
    async with asyncio.timeout(10):
        while (await figures("apiserver_longrunning_requests"))[watches] != 1:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
    assert not reading.done()
    reading.cancel()


async def test_a_large_answer_that_nobody_reads(site, http, eventually):
    for number in range(10):
        await http("POST", f"{NS}/configmaps", config_map(f"c{number}", data={"a": "x" * 1_000_000}))
    client = await site.connect(limit=1024)
    await client.send(get(f"{NS}/configmaps"))
    await eventually(lambda: any(size > 1 << 16 for size in waiting(site)))
    site.later(0)
    site.later(1)
    assert len(site.connections) == 1
    site.later(READ_SECONDS + 1)
    await eventually(lambda: not site.connections)


async def test_who_reads_slowly_is_not_cut_off(site, http, eventually):
    for number in range(10):
        await http("POST", f"{NS}/configmaps", config_map(f"c{number}", data={"a": "x" * 1_000_000}))
    client = await site.connect(limit=1024)
    await client.send(get(f"{NS}/configmaps"))
    await eventually(lambda: any(size > 1 << 16 for size in waiting(site)))
    passed = 0
    while (before := max(waiting(site), default=0)) > 1 << 16:
        async with asyncio.timeout(10):
            while max(waiting(site)) == before:
                await client.reader.read(1 << 18)
        passed += READ_SECONDS - 1
        site.later(passed)
        assert len(site.connections) == 1


def upgrade(path):
    return get(
        path,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )


async def test_a_websocket_whose_client_is_gone(site, http, eventually):
    """It answers no ping: a client that vanished, or a connection that is open on one side only."""
    site.server.config.ws_ping_interval = site.server.config.ws_ping_timeout = 0.05
    client = await site.connect()
    await client.send(upgrade(f"{NS}/configmaps?watch=1"))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"audit-id: " in head.lower()
    await client.ended()
    await eventually(lambda: not site.connections)


async def test_a_websocket_that_nobody_reads(site, http, eventually):
    site.server.config.ws_ping_interval = None
    client = await site.connect(limit=1024)
    await client.send(upgrade(f"{NS}/configmaps?watch=1"))
    await client.reader.readuntil(b"\r\n\r\n")
    for number in range(100):
        await http("POST", f"{NS}/configmaps", config_map(f"c{number}", data={"a": "x" * 500_000}))
        if any(size > 1 << 16 for size in waiting(site)):
            break
    for number in range(10):
        await http("POST", f"{NS}/configmaps", config_map(f"d{number}", data={"a": "x" * 500_000}))
    assert 1 << 16 < max(waiting(site)) < 5 << 20
    site.later(0)
    site.later(READ_SECONDS + 1)
    await eventually(lambda: not site.connections)


async def test_a_websocket_that_talks_nonsense(site, eventually):
    client = await site.connect()
    await client.send(upgrade(f"{NS}/configmaps?watch=1"))
    await client.reader.readuntil(b"\r\n\r\n")
    await client.send(b"\xff" * 100)  # no frame, and not masked
    await client.ended()
    await eventually(lambda: not site.connections)


async def test_answers_on_one_connection(site, http):
    """One after the other, asked for all at once, and the last one with a farewell."""
    await http("POST", f"{NS}/configmaps", config_map("a", data={"b": "x" * 100_000}))
    client = await site.connect(limit=1 << 20)
    await client.send(
        get("/livez") + get(f"{NS}/configmaps/a") + get("/api/v1/nothing") + get("/livez", "Connection: close")
    )
    assert await client.answer() == (200, b"ok")
    status, body = await client.answer()
    assert (status, json.loads(body)["metadata"]["name"]) == (200, "a")
    assert (await client.answer())[0] == 404
    assert await client.answer() == (200, b"ok")
    await client.ended()


async def test_answers_say_when_and_that_they_are_the_last(site):
    client = await site.connect()
    await client.send(get(f"{NS}/configmaps", "Connection: close", "Audit-Id: mine"))
    async with asyncio.timeout(10):
        answer = await client.reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(body)["kind"] == "ConfigMapList"
    assert fields[b"content-length"] == b"%d" % len(body)
    assert fields[b"connection"] == b"close"
    assert fields[b"audit-id"] == b"mine"
    assert fields[b"cache-control"] == b"no-cache, private"
    assert fields[b"date"].endswith(b" gmt")


async def test_head_on_a_connection(site):
    client = await site.connect()
    await client.send(get("/api/v1").replace(b"GET", b"HEAD") + get("/livez"))
    async with asyncio.timeout(10):
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) > 0
    assert await client.answer() == (200, b"ok")
