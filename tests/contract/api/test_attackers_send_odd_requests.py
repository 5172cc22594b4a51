"""What attackers send so that two readers of a request disagree, or so that reading it costs the server its memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asgi import Connection

from orch_api.config import ApiConfig
from orch_api.http.server import PEER, listen, server
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application

pytestmark = pytest.mark.asyncio(loop_scope="module")

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
ALICE = {"subject": ((("commonName", "alice"),),)}
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"


class Wire:
    """The api on a socket, to which each connection is alice's, who may read one ConfigMap and no more."""

    def __init__(self, api: InMemoryApi) -> None:
        app = application(api.core, ApiConfig())
        self.admin = Connection(app)
        self.alice = Connection(app, ALICE)
        self.seen: list[tuple[str, str]] = []
        self._listener = listen("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]

        async def as_alice(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append((scope.get("method", ""), scope["path"]))
            scope[PEER] = ALICE
            await app(scope, receive, send)

        self._server = server(as_alice, certificate="", key="", client_ca="")
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[self._listener]))

    async def start(self) -> None:
        while not self._server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        map_ = {"metadata": {"name": "open"}, "data": {"a": "b"}}
        assert (await self.admin("POST", MAPS, map_)).status == 201
        assert (await self.admin("POST", MAPS, {"metadata": {"name": "hidden"}})).status == 201
        may = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["open"], "verbs": ["get"]}
        role = {"metadata": {"name": "r"}, "rules": [may]}
        assert (await self.admin("POST", f"{ROLES}/roles", role)).status == 201
        binding = {
            "metadata": {"name": "r"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        assert (await self.admin("POST", f"{ROLES}/rolebindings", binding)).status == 201

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes and the end of the stream; return all that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        await self._serving
        self._listener.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire() -> AsyncIterator[Wire]:
    async with in_memory_api() as api:
        found = Wire(api)
        await found.start()
        yield found
        await found.close()


def head(*lines: str, start: str = f"GET {MAPS}/open HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([start, "Host: x", *lines, "", ""]).encode("latin-1") + body


# Framing ----------------------------------------------------------------------------------------------------------

SMUGGLED = head(start=f"GET {MAPS}/smuggled HTTP/1.1")
CHUNKED = b"0\r\n\r\n"
POST = f"POST {MAPS} HTTP/1.1"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 5", "Transfer-Encoding: chunked"), CHUNKED),
        (("Transfer-Encoding: chunked", "Content-Length: 5"), CHUNKED),
        (("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"), b""),
        (("Content-Length: 0, 5",), b""),
        (("Content-Length: +0",), b""),
        (("Content-Length: 0x0",), b""),
        (("Content-Length: -1",), b""),
        (("Content-Length : 0",), b""),
        (("Transfer-Encoding : chunked",), CHUNKED),
        (("Transfer-Encoding: chunked, identity",), CHUNKED),
        (("Transfer-Encoding: xchunked", "Content-Length: 0"), b""),
        (("Transfer-Encoding: chunked",), b"0x0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), b"-1\r\n\r\n"),
        (("X: a\rTransfer-Encoding: chunked",), b""),
        (("X: a\0b",), b""),
        (("X y: a",), b""),
        ((": nothing",), b""),
    ],
)
async def test_no_request_hides_inside_another(wire: Wire, lines: tuple[str, ...], body: bytes) -> None:
    said = await wire.exchange(head(*lines, start=POST, body=body) + SMUGGLED)
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), said[:200]
    assert ("GET", f"{MAPS}/smuggled") not in wire.seen


async def test_a_folded_header_is_one_value_or_none(wire: Wire) -> None:
    said = await wire.exchange(
        head("X: a\r\n Impersonate-User: orch:admin\r\n Impersonate-Group: system:masters", "Connection: close")
    )
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200"))
    hidden = head("X: a\r\n Impersonate-User: orch:admin", "Connection: close", start=f"GET {MAPS}/hidden HTTP/1.1")
    assert (await wire.exchange(hidden)).startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))


async def test_what_follows_an_upgrade_that_nobody_takes_is_no_request(wire: Wire) -> None:
    upgrade = head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    await wire.exchange(upgrade + SMUGGLED)
    assert ("GET", f"{MAPS}/smuggled") not in wire.seen


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Remote-User: orch:admin", "X-Remote-Group: system:masters"),
        ("x_remote_user: orch:admin", "x_remote_group: system:masters"),
        ("X-Forwarded-User: orch:admin", "X-Forwarded-Client-Cert: Subject=orch:admin", "X-Original-URL: /"),
        ("X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE"),
        ("X-Rewrite-URL: /healthz", "X-Original-URL: /healthz", "Forwarded: for=127.0.0.1"),
    ],
)
async def test_headers_of_other_proxies_say_nothing(wire: Wire, lines: tuple[str, ...]) -> None:
    for name, code in (("open", b"200"), ("hidden", b"403")):
        said = await wire.exchange(head(*lines, "Connection: close", start=f"GET {MAPS}/{name} HTTP/1.1"))
        assert said[9:12] == code
    assert (await wire.admin("GET", f"{MAPS}/open")).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ("Impersonate-User: alice", "Impersonate-User: orch:admin"),
        ("Impersonate-User: alice", "Impersonate-Group: system:masters"),
        ("impersonate-user: alice", "IMPERSONATE-GROUP: system:masters"),
        ("Impersonate-User: ", "Impersonate-User: orch:admin"),
        ("Impersonate-Uid: 0", "Impersonate-Extra-Scopes: all"),
        ("Impersonate-User: alice", "Impersonate-Other: x"),
        ("Impersonate-User: alice\xff",),
    ],
)
async def test_nobody_becomes_somebody_by_saying_it_twice(wire: Wire, lines: tuple[str, ...]) -> None:
    said = await wire.exchange(head(*lines, "Connection: close", start=f"GET {MAPS}/hidden HTTP/1.1"))
    assert said[9:12] in {b"403", b"400"}


# Paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"{MAPS}/open/../hidden",
        f"{MAPS}/open/%2e%2e/hidden",
        f"{MAPS}/open%2f..%2fhidden",
        f"{MAPS}/open/..;/hidden",
        f"{MAPS};a=b/hidden",
        f"{MAPS}//hidden",
        f"/{MAPS}/hidden",
        f"/healthz/..{MAPS}/hidden",
        f"/livez/%2e%2e{MAPS}/hidden",
        f"/version/../{MAPS}/hidden",
        f"{NS}/CONFIGMAPS/hidden",
        f"/API{MAPS[4:]}/hidden",
        f"{MAPS}/hidden%00open",
        f"{MAPS}/hidden#/open",
        f"{MAPS}\\hidden",
        f"{MAPS}/hidden%3fname=open",
        f"{MAPS}/hidden?name=open",
        f"{MAPS}/hidden?resourceName=open&fieldSelector=metadata.name%3Dopen",
        f"{MAPS}?fieldSelector=metadata.name%3Dopen,metadata.name%3Dhidden",
        f"{MAPS}?fieldSelector=metadata.name!%3Dopen",
        f"{NS}/configmaps/hidden/",
        f"{NS}%2fconfigmaps%2fhidden",
        "/api/v1/namespaces/default%2f..%2fkube-system/configmaps/open",
        "/api/v1/watch/namespaces/default/configmaps/hidden",
        f"http://other.example{MAPS}/hidden",
        "//evil.example/healthz",
        "/metrics",
        "/metrics/",
        "//metrics",
        "/metrics/../healthz",
        "/livez/../metrics",
        "/healthz/%2e%2e/metrics",
        "/livez/..%2fmetrics",
        "/debug/pprof/",
        "/logs/",
    ],
)
async def test_a_path_leads_nowhere_else_than_it_is_permitted(wire: Wire, path: str) -> None:
    said = await wire.exchange(head("Connection: close", start=f"GET {path} HTTP/1.1"))
    assert said[9:12] in {b"400", b"403", b"404"}, said[:300]
    assert b'"hidden","namespace"' not in said
    assert b"# HELP" not in said


# Bodies -----------------------------------------------------------------------------------------------------------


BOMB = gzip.compress(b"x" * (32 << 20), 1)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "identity, gzip"])
async def test_a_bomb_is_not_unpacked(wire: Wire, encoding: str) -> None:
    before = peak()
    answer = await wire.admin("POST", MAPS, BOMB, content_type="application/json", content_encoding=encoding)
    assert answer.status in {400, 415}
    assert peak() - before < 16 << 20


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (
            "yaml",
            b"a: &a [x,x,x,x,x,x,x,x,x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)),
        ),
        ("yaml", b"a: &a {<<: *a}\n"),
        ("yaml", b"a: &a [*a]\n"),
        ("yaml", b"a: " + b"[" * 100_000),
        ("yaml", b"? " * 50_000),
        ("yaml", b"a: !!python/object/apply:os.system ['true']\n"),
        ("yaml", b"a: 0x" + b"f" * 1_000_000),
        ("json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        ("json", b'{"data":{"a":' + b"1" * 1_000_000 + b"}}"),
        ("json", b'{"metadata":{"name":"a"},"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        ("json", b'{"metadata":{"name":"a","labels":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}}"),
        ("vnd.kubernetes.protobuf", b"k8s\0" + b"\x12\xff\xff\xff\xff\x0f"),
        ("vnd.kubernetes.protobuf", b"k8s\0" + b"\x0b" * 100_000),
        ("cbor", b"\xd9\xd9\xf7" + b"\x81" * 100_000),
        ("cbor", b"\xd9\xd9\xf7\x9b" + b"\xff" * 8),
        ("cbor", b"\xd9\xd9\xf7\xa1\x61a\x5b" + b"\x7f" * 8),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:12].hex(),
)
async def test_a_body_that_grows_or_nests_is_refused(wire: Wire, kind: str, body: bytes) -> None:
    async with asyncio.timeout(5):
        answer = await wire.admin("POST", MAPS, body, content_type=f"application/{kind}")
    assert answer.status in {400, 413, 415, 422}, (answer.status, answer.body[:300])
    assert len(answer.body) < 100_000


async def test_patches_that_grow_are_refused(wire: Wire) -> None:
    copies = [{"op": "add", "path": "/data", "value": {"a": "x" * 1000}}]
    copies += [{"op": "copy", "from": "/data", "path": f"/data/{n}"} for n in range(40)]
    for patch in (copies, [{"op": "test", "path": "/data/a", "value": "b"}] * 20_000):
        async with asyncio.timeout(5):
            answer = await wire.admin(
                "PATCH", f"{MAPS}/open", json.dumps(patch).encode(), content_type="application/json-patch+json"
            )
        assert answer.status in {400, 413, 422}, answer.body[:300]
    assert (await wire.admin("GET", f"{MAPS}/open")).json["data"] == {"a": "b"}
