"""Requests that are passed on to pods, to the pods of services, and to nodes.

The api reaches no pod's network: HTTP is spoken over a connection that the pod's node makes. What is passed on and how
follows k8s.io/apimachinery/pkg/util/proxy: the caller's credentials stay here, redirects lead back through the proxy,
bodies are left as they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit

import h11
from google.protobuf.message import DecodeError

from orch.errors import (
    ApiError,
    BadRequestError,
    InternalError,
    ServiceUnavailableError,
    StreamClosedError,
    UnavailableError,
)
from orch_api.http.exchange import Disconnected, Exchange
from orch_api.http.links import STALLED, Link, join
from orch_api.http.request import Target
from orch_api.http.streams.http_client import HttpClient
from orch_api.http.streams.locations import Location, Locations
from orch_api.http.streams.pods import PodNodes
from orch_api.http.streams.tls import TlsLink
from orch_api.http.upgrade import UPGRADE, Upgrade
from orch_pb.v1 import node_pb2

_log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

VERBS: Final = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "OPTIONS": "",
}
"""What a caller must be allowed for each method; Kubernetes, too, has no verb for OPTIONS."""

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_UPGRADE_DEADLINE: Final = 60.0
_OURS: Final = frozenset({b"authorization", b"expect"})
_CROSS_ORIGIN: Final = b"access-control-allow-"


class Proxy:
    """Answers requests for the proxy subresource of pods, services and nodes."""

    def __init__(self, locations: Locations, nodes: PodNodes) -> None:
        self._locations = locations
        self._nodes = nodes

    async def serve(self, exchange: Exchange, target: Target) -> None:
        """Pass an authorized request on and its answer back. Raises ApiError."""
        path = proxied_path(exchange.scope["raw_path"], target)
        query: bytes = exchange.scope["query_string"]
        if not path and exchange.method in {"GET", "HEAD"} and UPGRADE not in exchange.scope:
            location = exchange.scope["raw_path"] + b"/" + (b"?" + query if query else b"")
            await exchange.begin(301, [(b"location", location), (b"content-length", b"0")])
            await exchange.end()
            return
        if target.resource == "nodes":
            await self._ask_node(exchange, await self._locations.node(target.name), path, query)
            return
        find = self._locations.pod if target.resource == "pods" else self._locations.service
        location = await find(target.namespace, target.name)
        wanted = (path or b"/") + (b"?" + query if query else b"")
        prefix = exchange.scope["raw_path"].removesuffix(path) if path else exchange.scope["raw_path"]
        await self._pass_on(exchange, location, wanted, prefix)

    async def _pass_on(self, exchange: Exchange, location: Location, wanted: bytes, prefix: bytes) -> None:
        try:
            node = await self._nodes.dial(location.pod, location.port, own_address=True)
        except UnavailableError as error:
            raise ServiceUnavailableError(f"error trying to reach service: {error}") from error
        link: Link = node
        try:
            if location.tls:
                link = tls = TlsLink(node)
                await tls.handshake()
            await _exchange_over(link, exchange, wanted, _Rewriting(prefix, location.host, exchange))
        except (StreamClosedError, ServiceUnavailableError) as error:
            if exchange.started:
                raise  # the client sees that the answer breaks off
            raise ServiceUnavailableError(f"error trying to reach service: {error}") from error
        finally:
            await link.close()

    async def _ask_node(self, exchange: Exchange, node: str, path: bytes, query: bytes) -> None:
        """Ask a node's agent about the node."""
        request = node_pb2.NodeQuery(
            node=node, method=exchange.method, path=(path or b"/").decode("latin-1"), query=query.decode("latin-1")
        )
        await exchange.body()
        try:
            stream = await self._nodes.open(node, "query", request.SerializeToString())
        except UnavailableError as error:
            raise ServiceUnavailableError(f"error trying to reach service: {error}") from error
        async with stream:
            async for channel, data in stream:
                if data is None:
                    continue
                if channel == 0:
                    answer = _node_answer(data)
                    await exchange.begin(answer.status, [(b"content-type", answer.content_type.encode())])
                else:
                    await _patiently(exchange.write(data))
        if not exchange.started:
            raise InternalError(f"node {node} gave no answer")
        await exchange.end()


class _Rewriting:
    """What is changed of the headers on their way."""

    def __init__(self, prefix: bytes, host: str, exchange: Exchange) -> None:
        self._prefix = prefix.decode("latin-1").rstrip("/")
        self._host = host
        self._hosts = {"", host, exchange.header(b"host")}
        self._exchange = exchange

    def request(self, wanted: bytes, *, upgrade: str) -> list[Header]:
        """Return the headers to send."""
        scope = self._exchange.scope
        kept = list(_end_to_end(scope["headers"]))
        headers = [(name, value) for name, value in kept if name not in _OURS and not name.startswith(b"impersonate-")]
        if upgrade:
            headers += [(b"connection", b"Upgrade"), (b"upgrade", upgrade.encode("latin-1"))]
        elif b"transfer-encoding" in self._exchange.headers:
            headers.append((b"transfer-encoding", b"chunked"))
        client = scope.get("client")
        if client:
            before = [value for name, value in headers if name == b"x-forwarded-for"]
            headers = [header for header in headers if header[0] != b"x-forwarded-for"]
            headers.append((b"x-forwarded-for", b", ".join([*before, client[0].encode()])))
        if b"host" not in self._exchange.headers:
            headers.append((b"host", self._host.encode()))
        path = wanted.partition(b"?")[0]
        headers.append((b"x-forwarded-uri", self._prefix.encode("latin-1") + path))
        return headers

    def response(self, headers: Iterable[Header]) -> list[Header]:
        """Return the headers to answer with. The server adds a date of its own."""
        kept: list[Header] = []
        for name, value in _end_to_end(headers):
            if name == b"location":
                kept.append((name, self._location(value.decode("latin-1")).encode("latin-1")))
            elif name != b"date" and not name.startswith(_CROSS_ORIGIN):
                kept.append((name, value))
        return kept

    def _location(self, location: str) -> str:
        """Return where a redirect leads, seen from the client: what is on the same host is behind the proxy."""
        parts = urlsplit(location)
        if parts.netloc not in self._hosts or not parts.path.startswith("/"):
            return location
        path = parts.path if parts.path.startswith(self._prefix) else self._prefix + parts.path
        return parts._replace(scheme="", netloc="", path=path).geturl()


async def _exchange_over(link: Link, exchange: Exchange, wanted: bytes, rewriting: _Rewriting) -> None:
    """Make the exchange over a link. Raises StreamClosedError when the far end breaks it, Disconnected."""
    upgrade: Upgrade | None = exchange.scope.get(UPGRADE)
    client = HttpClient(link)
    headers = rewriting.request(wanted, upgrade=upgrade.protocol if upgrade is not None else "")
    await client.begin(exchange.method, wanted, headers)
    if upgrade is not None:
        await client.end()  # what comes before the 101 is kept for later
        try:
            async with asyncio.timeout(_UPGRADE_DEADLINE):
                response = await client.response()
        except TimeoutError as error:
            raise StreamClosedError("timeout awaiting response headers") from error
        if response.status_code == 101:
            await _switch(link, client, exchange, upgrade, response)
            return
        await exchange.begin(response.status_code, rewriting.response(response.headers))
        await _send_answer(exchange, client.body())
    else:
        await _plain(exchange, client, rewriting)
    await exchange.end()


async def _plain(exchange: Exchange, client: HttpClient, rewriting: _Rewriting) -> None:
    """Send the body and answer, at the same time: an answer may come before the request is complete."""
    sending = asyncio.ensure_future(_send_body(exchange, client))
    leaving = asyncio.ensure_future(_leaving(exchange, sending))

    async def answer() -> None:
        response = await client.response()
        await exchange.begin(response.status_code, rewriting.response(response.headers))
        await _send_answer(exchange, client.body())

    answering = asyncio.ensure_future(answer())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            leaving.result()
            raise Disconnected
        answering.result()
    finally:
        for task in (answering, leaving, sending):
            task.cancel()
        await asyncio.gather(answering, leaving, sending, return_exceptions=True)


async def _send_body(exchange: Exchange, client: HttpClient) -> None:
    async for piece in exchange.pieces():
        if piece:
            await client.write(piece)
    await client.end()


async def _leaving(exchange: Exchange, sending: asyncio.Future[None]) -> None:
    """Return when the client has left. Raises Disconnected, and BadRequestError for a body that is not as it says."""
    try:
        await sending
    except (StreamClosedError, ApiError) as error:
        if isinstance(error, BadRequestError):
            raise
        _log.debug("the rest of a request was not taken: %s", error)
        await asyncio.get_running_loop().create_future()  # its answer tells why
    await exchange.gone()


async def _send_answer(exchange: Exchange, body: AsyncGenerator[bytes]) -> None:
    """Copy the answer's body."""
    async with aclosing(body):
        async for piece in body:
            await _patiently(exchange.write(piece))


async def _switch(
    link: Link,
    client: HttpClient,
    exchange: Exchange,
    upgrade: Upgrade,
    response: h11.Response | h11.InformationalResponse,
) -> None:
    """Pass a connection that became something else through, both ways."""
    exchange.switched()
    raw = await upgrade.accept([(bytes(name), bytes(value)) for name, value in response.headers])
    try:
        if beyond := client.beyond:
            await raw.write(beyond)
        await join(raw, link)
    except (StreamClosedError, ApiError):
        return  # the end of a connection that is nobody's request any more
    finally:
        await raw.close()


async def _patiently(writing: Awaitable[None]) -> None:
    """Write to a client that may be slow, but not for ever. Raises StreamClosedError."""
    try:
        async with asyncio.timeout(STALLED):
            await writing
    except TimeoutError as error:
        raise StreamClosedError(f"the client took nothing for {STALLED:g} s") from error


def proxied_path(raw_path: bytes, target: Target) -> bytes:
    """Return what follows /proxy in a path, b"" for nothing, escaped as it came."""
    segments = raw_path.split(b"/")
    before = 6 if not target.namespace else 8  # "", api, v1, [namespaces, <namespace>,] <resource>, <name>, proxy
    rest = segments[before:]
    return b"/" + b"/".join(rest) if rest else b""


def _end_to_end(headers: Iterable[Header]) -> Iterable[Header]:
    """Yield the headers that are meant for the far end, not for the next hop."""
    listed = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    named = {token.strip().lower() for name, value in listed if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in listed if name not in _HOP_BY_HOP and name not in named]


def _node_answer(data: bytes) -> node_pb2.NodeAnswer:
    try:
        return node_pb2.NodeAnswer.FromString(data)
    except DecodeError as error:
        raise InternalError("the node's answer cannot be read") from error
