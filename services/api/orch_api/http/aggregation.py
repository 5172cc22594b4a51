"""Passes requests for aggregated APIs on to the servers that APIServices name (kube-aggregator's proxy handler)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import aclosing
from typing import Final

from orch.errors import ServiceUnavailableError, StreamClosedError
from orch_api.auth.authorizer import Authorizer, attributes
from orch_api.auth.identity import Caller
from orch_api.auth.vigil import Vigil
from orch_api.extensions.api_services import ApiServices, RemoteApi, identity_headers
from orch_api.extensions.https import Answer, Request, ask
from orch_api.extensions.remote_resources import unknown_resource
from orch_api.http.care import Care
from orch_api.http.exchange import Exchange, Header
from orch_api.http.links import STALLED
from orch_api.http.request import Call, parse_path, parse_query, text, verb_of
from orch_api.registry import Registry

_PREFIX: Final = "/apis/"
_ANSWER_TIMEOUT: Final = 60.0
_HOP_BY_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_OURS: Final = frozenset({b"authorization", b"host", b"content-length"})
"""What the api says itself: who asks is told in X-Remote-*."""
_IDENTITY: Final = (b"x-remote-", b"impersonate-")


class Aggregation:
    """Serves what other servers serve."""

    def __init__(self, services: ApiServices, registry: Registry, authorizer: Authorizer, vigil: Vigil) -> None:
        self._services = services
        self._registry = registry
        self._authorizer = authorizer
        self._vigil = vigil

    async def answer(self, exchange: Exchange, caller: Caller, care: Care) -> bool:
        """Answer a request whose path belongs to an aggregated API; return whether it does. Raises ApiError."""
        path: str = exchange.scope["path"]
        if not path.startswith(_PREFIX):
            return False
        group, _, rest = path[len(_PREFIX) :].partition("/")
        version = rest.partition("/")[0]
        api = self._services.find(group, version) if version else None
        if api is None:
            return False
        call = self._call(exchange, caller)
        if call is None:
            await care.path(exchange, caller, lambda: self._pass_on(exchange, caller, api, None))
        else:
            await care.resource(exchange, call, lambda: self._pass_on(exchange, caller, api, call))
        return True

    def _call(self, exchange: Exchange, caller: Caller) -> Call | None:
        """Return what resource a request is for, None when it is for none."""
        target = parse_path(exchange.scope["path"])
        if target is None:
            return None
        query = parse_query(exchange.scope["query_string"])
        resource = self._registry.find(target.group, target.version, target.resource)
        if resource is None:
            resource = unknown_resource(
                target.group, target.version, target.resource, namespaced=bool(target.namespace)
            )
        return Call(caller, verb_of(exchange.method, target, query), resource, target, query)

    async def _pass_on(self, exchange: Exchange, caller: Caller, api: RemoteApi, call: Call | None) -> None:
        if call is None:
            await self._authorizer.permit_path(caller, exchange.method.lower(), exchange.scope["path"].rstrip("/"))
            await self._ask(exchange, caller, api, None)
            return
        selectors = (text(call.query, "labelSelector"), text(call.query, "fieldSelector"))
        where = (call.target.namespace, call.target.name, call.target.subresource)
        wanted = attributes(call.verb, call.resource, *where, selectors)
        await self._authorizer.require(caller, wanted)
        if not call.long_running:
            await self._ask(exchange, caller, api, call)
            return
        with self._vigil.over(caller, wanted) as standing:
            await _until(self._ask(exchange, caller, api, call), standing.revoked.wait())

    async def _ask(self, exchange: Exchange, caller: Caller, api: RemoteApi, call: Call | None) -> None:
        if not self._services.verdict(api).available:
            raise ServiceUnavailableError("service unavailable")
        host, port = await self._services.address(api)
        body = await exchange.body()
        scope = exchange.scope
        query: bytes = scope["query_string"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        request = Request(
            host=host,
            port=port,
            server_name=api.host,
            tls=self._services.tls(api),
            guard=self._services.guard,
            method=exchange.method,
            target=raw + (b"?" + query if query else b""),
            headers=(*_request_headers(exchange, caller), (b"host", api.host.encode())),
            body=body,
            timeout=None if call is not None and call.long_running else _ANSWER_TIMEOUT,
        )
        try:
            async with ask(request) as answer:
                await exchange.begin(answer.status, _response_headers(answer.headers))
                await _until(_copy(answer, exchange), exchange.gone())
        except OSError as error:
            if exchange.started:
                raise StreamClosedError(f"the answer of {api.name} broke off: {error}") from error
            problem = f"error trying to reach service: {error or type(error).__name__}"
            raise ServiceUnavailableError(problem) from error


async def _copy(answer: Answer, exchange: Exchange) -> None:
    async with aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            try:
                async with asyncio.timeout(STALLED):
                    await exchange.write(piece)
            except TimeoutError as error:
                raise StreamClosedError(f"the client took nothing for {STALLED:g} s") from error
    await exchange.end()


async def _until(work: Awaitable[None], end: Awaitable[object]) -> None:
    """Do the work until something ends it, such as the client's leaving. Raises what the work raises."""
    copying, leaving = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait((copying, leaving), return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()
    finally:
        copying.cancel()
        leaving.cancel()
        await asyncio.gather(copying, leaving, return_exceptions=True)


def _request_headers(exchange: Exchange, caller: Caller) -> list[Header]:
    """Return the client's headers without its credentials, and who it is."""
    headers = [
        (name, value)
        for name, value in _end_to_end(exchange.scope["headers"])
        if name not in _OURS and not name.startswith(_IDENTITY)
    ]
    headers += identity_headers(caller)
    client = exchange.scope.get("client")
    if client:
        headers.append((b"x-forwarded-for", str(client[0]).encode()))
    return headers


def _response_headers(raw: Iterable[Header]) -> list[Header]:
    """Return the answer's headers; the server adds a date of its own."""
    return [(name, value) for name, value in _end_to_end(raw) if name not in {b"date", b"server"}]


def _end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Return the headers that are meant for the far end, not for the next hop."""
    listed = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    named = {token.strip().lower() for name, value in listed if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in listed if name not in _HOP_BY_HOP and name not in named]
