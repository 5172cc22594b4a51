"""Requests passed on to pods, services and nodes: what reaches the far end, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certificates
import h11
import pytest
from asgi import Connection

from orch.errors import NotFoundError, ServiceUnavailableError
from orch.objects.meta import Object
from orch.objects.scheme import Kind
from orch_pb.v1 import node_pb2

from .conftest import POD

SERVICES = Kind("", "v1", "services", "Service", True, Object)
ENDPOINTS = Kind("", "v1", "endpoints", "Endpoints", True, Object)
PROXY = f"{POD}/proxy"


class Request:
    """What reached the pod."""

    def __init__(self, head: h11.Request, asked: node_pb2.PortForwardRequest) -> None:
        self.method = head.method.decode()
        self.target = head.target.decode()
        self.headers = {name.decode(): value.decode() for name, value in head.headers}
        self.port = asked.port
        self.body = b""


class Pod:
    """A web server in a pod: `answer` makes of a request the events to send; all requests are kept."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Any] = lambda request: [
            h11.Response(status_code=200, headers=[("content-type", "text/plain"), ("content-length", "2")]),
            h11.Data(data=b"hi"),
        ]
        self.before_body = False
        """Answer before the request's body is read."""

    async def __call__(self, request: bytes, stream: Any) -> None:
        asked = node_pb2.PortForwardRequest.FromString(request)
        assert asked.own_address
        if asked.port == 81:
            raise ServiceUnavailableError("dial tcp 10.1.0.2:81: connect: connection refused")
        server = h11.Connection(h11.SERVER)
        kept: Request | None = None
        async for _, data in stream:
            if data is not None and not data[:1].isalpha() and kept is None:
                return  # no HTTP: a TLS handshake
            server.receive_data(data or b"")
            while (event := server.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
                if isinstance(event, h11.Request):
                    kept = Request(event, asked)
                    self.requests.append(kept)
                elif isinstance(event, h11.Data) and kept is not None:
                    kept.body += bytes(event.data)
                if kept is not None and (isinstance(event, h11.EndOfMessage) or self.before_body):
                    await self._answer(server, kept, stream)
                    return

    async def _answer(self, server: h11.Connection, request: Request, stream: Any) -> None:
        for event in self.answer(request):
            sent = event if isinstance(event, bytes) else server.send(event)
            await stream.send(0, sent or b"")
        if server.our_state is h11.SEND_BODY:
            await stream.send(0, server.send(h11.EndOfMessage()) or b"")
        await stream.end(0)


@pytest.fixture
async def web(pod: Any, node: Any) -> Pod:
    web = Pod()
    await node("portforward", web)
    return web


async def test_what_reaches_the_pod(http: Connection, web: Pod) -> None:
    headers = {
        "host": "api:6443",
        "authorization": "Bearer of secrets",
        "impersonate-user": "x",
        "impersonate-group": "system:masters",
        "connection": "close, x-hop",
        "x-hop": "1",
        "te": "trailers",
        "keep-alive": "1",
        "x-kept": "yes",
        "x-forwarded-for": "10.0.0.1",
        "cookie": "a=b",
    }
    answer = await http("GET", f"{PROXY}/some/path?q=1&r=%20", **headers)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"hi", "text/plain")
    [request] = web.requests
    assert (request.method, request.target, request.port) == ("GET", "/some/path?q=1&r=%20", 8080)
    assert request.headers == {
        "host": "api:6443",
        "x-kept": "yes",
        "cookie": "a=b",
        "x-forwarded-for": "10.0.0.1, 127.0.0.1",
        "x-forwarded-uri": f"{PROXY}/some/path",
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def test_every_method_is_passed_on(http: Connection, web: Pod, method: str) -> None:
    answer = await http(method, f"{PROXY}/", b"body", host="api", content_length="4", content_type="text/plain")
    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b"hi")
    assert (web.requests[0].method, web.requests[0].body) == (method, b"body")


async def test_paths_stay_as_they_are_written(http: Connection, web: Pod) -> None:
    for path in ("/", "//a//b/", "/watch/status", "/proxy/proxy", "/a%2Fb%20c"):
        assert (await http("GET", f"{PROXY}{path}", host="api")).status == 200
    assert [request.target for request in web.requests] == [
        "/",
        "//a//b/",
        "/watch/status",
        "/proxy/proxy",
        "/a%2Fb%20c",
    ]


async def test_without_a_path_the_client_is_sent_to_the_root(http: Connection, web: Pod) -> None:
    answer = await http("GET", f"{PROXY}?a=b")
    assert (answer.status, answer.headers["location"]) == (301, f"{PROXY}/?a=b")
    assert (await http("POST", PROXY, host="api")).status == 200
    assert [request.target for request in web.requests] == ["/"]


async def test_statuses_and_headers_come_back(http: Connection, web: Pod) -> None:
    web.answer = lambda request: [
        h11.Response(
            status_code=418,
            headers=[
                ("x-kept", "1"),
                ("set-cookie", "a=b"),
                ("set-cookie", "c=d"),
                ("connection", "x-hop, keep-alive"),
                ("x-hop", "1"),
                ("date", "never"),
                ("access-control-allow-origin", "*"),
                ("transfer-encoding", "chunked"),
            ],
        ),
        h11.Data(data=b"tea"),
        h11.Data(data=b"pot"),
    ]
    answer = await http("GET", f"{PROXY}/", host="api")
    assert (answer.status, answer.body) == (418, b"teapot")
    answer.headers.pop("audit-id", None)  # the server's own
    assert answer.headers == {"x-kept": "1", "set-cookie": "c=d"}


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("/login?x=1", f"{PROXY}/login?x=1"),
        ("http://10.1.0.2:8080/login/", f"{PROXY}/login/"),
        ("http://api/login", f"{PROXY}/login"),
        (f"{PROXY}/there", f"{PROXY}/there"),
        ("https://elsewhere/login", "https://elsewhere/login"),
        ("relative", "relative"),
    ],
)
async def test_redirects_lead_back_through_the_proxy(http: Connection, web: Pod, location: str, seen: str) -> None:
    head = h11.Response(status_code=302, headers=[("location", location), ("content-length", "0")])
    web.answer = lambda request: [head]
    answer = await http("GET", f"{PROXY}/a/b", host="api")
    assert (answer.status, answer.headers["location"]) == (302, seen)


async def test_answers_stream(http: Connection, pod: Any, node: Any, eventually: Any) -> None:
    more = asyncio.Event()

    async def slow(request: bytes, stream: Any) -> None:
        await anext(stream)
        await stream.send(0, b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await more.wait()
        await stream.send(0, b" second")
        await stream.end(0)

    await node("portforward", slow)
    answer, task, _ = http.begin("GET", f"{PROXY}/", host="api")
    await eventually(lambda: answer.body == b"first")
    more.set()
    await task
    assert (answer.body, answer.ended) == (b"first second", True)


async def test_a_client_that_leaves_ends_the_connection(http: Connection, pod: Any, node: Any, eventually: Any) -> None:
    ended = asyncio.Event()

    async def endless(request: bytes, stream: Any) -> None:
        try:
            await stream.send(0, b"HTTP/1.1 200 OK\r\n\r\nfirst")
            async for _ in stream:
                pass
        finally:
            ended.set()

    await node("portforward", endless)
    answer, task, leave = http.begin("GET", f"{PROXY}/", host="api")
    await eventually(lambda: answer.body)
    leave.set()
    await task
    async with asyncio.timeout(5):
        await ended.wait()


async def test_an_early_answer_ends_a_long_upload(served: Any, web: Pod) -> None:
    web.before_body = True
    web.answer = lambda request: [h11.Response(status_code=413, headers=[("content-length", "0")])]
    wire = await served.connect()
    head = f"POST {PROXY}/ HTTP/1.1\nHost: api\nAuthorization: Bearer secret\nTransfer-Encoding: chunked\n"
    await wire.ask(head, b"400\r\n" + b"x" * 1024 + b"\r\n")  # and the rest never comes
    assert wire.status == 413


async def test_bodies_stream_through_the_server(served: Any, web: Pod) -> None:
    web.answer = lambda request: [
        h11.Response(status_code=200, headers=[("content-length", str(len(request.body)))]),
        h11.Data(data=request.body),
    ]
    content = bytes(range(256)) * 20_000  # more than a request for an object may have
    wire = await served.connect()
    asking = asyncio.ensure_future(
        wire.ask(
            f"POST {PROXY}/ HTTP/1.1\nHost: api\nAuthorization: Bearer secret\nContent-Length: {len(content)}\n",
            content,
        )
    )
    await asking
    assert (wire.status, await wire.body()) == (200, content)


async def test_what_is_not_there_cannot_be_reached(http: Connection, web: Pod) -> None:
    answer = await http("GET", f"{POD}:81/proxy/", host="api")
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    problem = "error trying to reach service: dial tcp 10.1.0.2:81: connect: connection refused"
    assert answer.json["message"] == problem
    for place in ("p:x", "p:0", "p:65536"):
        answer = await http("GET", f"/api/v1/namespaces/default/pods/{place}/proxy/", host="api")
        assert answer.status == 503
    for place in ("ftp:p:80", "a:b:c:d", "http::80"):
        answer = await http("GET", f"/api/v1/namespaces/default/pods/{place}/proxy/", host="api")
        assert (answer.status, answer.json["message"]) == (400, f'invalid pod request "{place}"')
    assert (await http("GET", "/api/v1/namespaces/default/pods/q/proxy/", host="api")).status == 404


@pytest.mark.parametrize("said", [b"", b"no http\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken", b"x" * 200_000])
async def test_what_is_no_http_is_no_answer(http: Connection, web: Pod, said: bytes) -> None:
    web.answer = lambda request: [said]
    answer = await http("GET", f"{PROXY}/", host="api")
    assert answer.status == 503
    assert answer.json["message"].startswith("error trying to reach service: ")


async def test_an_answer_that_breaks_off_is_seen_to(served: Any, web: Pod) -> None:
    web.answer = lambda request: [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"]
    wire = await served.connect()
    await wire.ask(f"GET {PROXY}/ HTTP/1.1\nHost: api\nAuthorization: Bearer secret\n")
    with pytest.raises(asyncio.IncompleteReadError):
        await wire.body()


async def test_verbs_follow_from_methods(api: Any, app: Any, web: Pod) -> None:
    weak = Connection(app, {"subject": ((("commonName", "nobody"),),)})
    for method, verb in {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.items():
        answer = await weak(method, f"{POD}:8080/proxy/", host="api")
        assert answer.status == 403
        assert f'cannot {verb} resource "pods/proxy"' in answer.json["message"]
    assert (await weak("OPTIONS", f"{PROXY}/", host="api")).status == 403
    assert web.requests == []


async def test_pods_that_speak_tls(http: Connection, pod: Any, node: Any, tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = head.partition(b"\r\n")[0] * 10_000
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    async def forward(request: bytes, stream: Any) -> None:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        async def back() -> None:
            while data := await reader.read(65536):
                await stream.send(0, data)
            await stream.end(0)

        backwards = asyncio.ensure_future(back())
        async for _, data in stream:
            writer.write(data or b"")
        backwards.cancel()
        writer.close()
        await asyncio.gather(backwards, writer.wait_closed(), return_exceptions=True)

    await node("portforward", forward)
    async with server:
        answer = await http("GET", "/api/v1/namespaces/default/pods/https:p:443/proxy/x", host="api")
        assert (answer.status, answer.body) == (200, b"GET /x HTTP/1.1" * 10_000)


async def test_a_pod_that_speaks_no_tls_where_it_should(http: Connection, web: Pod) -> None:
    answer = await http("GET", "/api/v1/namespaces/default/pods/https:p:443/proxy/x", host="api")
    assert answer.status == 503


@pytest.mark.parametrize("protocol", ["websocket", "anything/1"])
async def test_upgrades_are_passed_through(served: Any, pod: Any, node: Any, protocol: str) -> None:
    async def switch(request: bytes, stream: Any) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            _, data = await anext(stream)
            head += data
        assert b"upgrade: " + protocol.encode() in head.lower()
        assert b"sec-websocket-key: abc" in head.lower()
        assert b"authorization" not in head.lower()
        answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: x\r\nx-more: 1\r\n\r\nwelcome"
        await stream.send(0, answer)
        async for _, data in stream:
            if data is None:
                break
            await stream.send(0, data.upper())
        await stream.end(0)

    await node("portforward", switch)
    wire = await served.connect()
    await wire.ask(
        f"GET {PROXY}/socket HTTP/1.1\nHost: api\nAuthorization: Bearer secret\nConnection: Upgrade\n"
        f"Upgrade: {protocol}\nSec-WebSocket-Key: abc\nSec-WebSocket-Version: 13\n"
    )
    assert (wire.status, wire.header("upgrade"), wire.header("x-more")) == (101, "x", "1")
    assert await wire.read() == b"welcome"
    await wire.write(b"anything")
    assert await wire.read() == b"ANYTHING"


async def test_an_upgrade_that_the_pod_refuses(served: Any, web: Pod) -> None:
    web.answer = lambda request: [h11.Response(status_code=426, headers=[("content-length", "0")])]
    wire = await served.connect()
    await wire.ask(
        f"GET {PROXY}/ HTTP/1.1\nHost: api\nAuthorization: Bearer secret\nConnection: Upgrade\nUpgrade: websocket\n"
    )
    assert wire.status == 426


# -- services --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def service(api: Any, web: Pod) -> Any:
    spec = {
        "selector": {"app": "p"},
        "ports": [{"name": "www", "port": 80, "targetPort": 8080}, {"name": "other", "port": 90, "targetPort": 9090}],
    }
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
    return await api.client().create(SERVICES, "default", document)


def through(place: str) -> str:
    return f"/api/v1/namespaces/default/services/{place}/proxy/x"


async def test_a_service_leads_to_a_ready_pod(http: Connection, web: Pod, service: Any) -> None:
    for place, port in {"s:80": 8080, "s:www": 8080, "http:s:www": 8080, "s:90": 9090, "s:other": 9090}.items():
        assert (await http("GET", through(place), host="api")).status == 200
        assert (web.requests[-1].port, web.requests[-1].target) == (port, "/x")


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("s", 503, 'no endpoints available for service "s"'),
        ("s:none", 503, 'no endpoints available for service "s:none"'),
        ("s:81", 503, 'no service port 81 found for service "s"'),
        ("none:80", 404, 'services "none" not found'),
        ("a:b:c:d", 400, 'invalid service request "a:b:c:d"'),
    ],
)
async def test_services_that_lead_nowhere(
    http: Connection, service: Any, place: str, status: int, message: str
) -> None:
    answer = await http("GET", through(place), host="api")
    assert (answer.status, answer.json["message"]) == (status, message)


async def test_endpoints_say_more_than_the_selector(api: Any, http: Connection, web: Pod, service: Any) -> None:
    client = api.client()
    address = {"ip": "10.1.0.2", "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"}}
    stranger = {"ip": "192.0.2.1"}
    ports = [{"name": "www", "port": 7070}]
    metadata = {"name": "s"}
    document = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": []}
    subsets = [{"addresses": [stranger, address], "ports": ports}]
    await client.create(ENDPOINTS, "default", {**document, "subsets": subsets})
    assert (await http("GET", through("s:80"), host="api")).status == 200
    assert web.requests[-1].port == 7070
    unready = [{"notReadyAddresses": [address], "ports": ports}]
    await client.patch(ENDPOINTS, "default", "s", {"subsets": unready})
    assert (await http("GET", through("s:80"), host="api")).status == 503


# -- nodes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def answers(api: Any, http: Connection, node: Any) -> list[node_pb2.NodeQuery]:
    """Node n, which answers everything with what it was asked, but /none."""
    queries: list[node_pb2.NodeQuery] = []

    async def handler(request: bytes, stream: Any) -> None:
        query = node_pb2.NodeQuery.FromString(request)
        queries.append(query)
        if query.path == "/none":
            raise NotFoundError.of("nodes", "", query.node)
        await stream.send(0, node_pb2.NodeAnswer(status=202, content_type="text/x").SerializeToString())
        await stream.send(1, query.path.encode() * 20_000)
        await stream.end(1)

    await node("query", handler)
    await http("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    return queries


async def test_a_node_answers_for_itself(http: Connection, answers: list[node_pb2.NodeQuery]) -> None:
    for place in ("n", "n:10250", "https:n:10250"):
        answer = await http("GET", f"/api/v1/nodes/{place}/proxy/stats/summary?only=cpu")
        assert (answer.status, answer.headers["content-type"]) == (202, "text/x")
        assert answer.body == b"/stats/summary" * 20_000
    query = answers[0]
    assert (query.node, query.method, query.path, query.query) == ("n", "GET", "/stats/summary", "only=cpu")


async def test_nodes_that_do_not_answer(http: Connection, app: Any, answers: list[node_pb2.NodeQuery]) -> None:
    assert (await http("GET", "/api/v1/nodes/n/proxy/none")).status == 404
    assert (await http("GET", "/api/v1/nodes/x/proxy/healthz")).status == 404
    assert (await http("GET", "/api/v1/nodes/n:22/proxy/")).status == 400
    await http("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "away"}})
    answer = await http("GET", "/api/v1/nodes/away/proxy/healthz")
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "ServiceUnavailable")
    weak = Connection(app, {"subject": ((("commonName", "nobody"),),)})
    assert (await weak("GET", "/api/v1/nodes/n/proxy/healthz")).status == 403
