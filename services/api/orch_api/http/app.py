"""The whole HTTP application.

Everything below /api and /apis goes to the objects' application at once, since that is nearly all traffic. Litestar
serves the rest: health, version, metrics, Kubernetes' OpenAPI documents, and its own OpenAPI page at /docs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, MutableMapping
from functools import partial
from typing import Any, Final

from litestar import Litestar, MediaType, Request, Response, get  # pyright: ignore[reportUnknownVariableType]
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.params import FromPath
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orch.errors import (
    ApiError,
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from orch_api.auth import issuer
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.auth.impersonation import Impersonation
from orch_api.auth.tokens import ServiceAccountTokens
from orch_api.http import openapi_protobuf
from orch_api.http.audit import Auditor, Entry
from orch_api.http.care import NOBODY, sent
from orch_api.http.credentials import asked, attempted, presented
from orch_api.http.discovery import Discovery, server_version
from orch_api.http.document import Document
from orch_api.http.exchange import NOT_CACHED, Exchange, Header, Receive, Scope, Send
from orch_api.http.handler import ObjectsApplication
from orch_api.http.health import Check, Health, Verdict
from orch_api.http.metrics import REQUESTS, Labels
from orch_api.http.openapi import OpenApiDocuments
from orch_api.http.preferences import accepts_gzip
from orch_api.http.refusal import as_api_error, refuse, refuse_websocket
from orch_api.http.request import check_path

_ALIVE: Final = frozenset({"ping"})
"""The checks of /livez: a process that fails one of them is to be started again."""

_COUNTED: Final = ("/healthz", "/livez", "/readyz", "/metrics", "/version", "/openapi/v2", "/openapi/v3", "/docs")

_CHARSET: Final = "; charset=utf-8"  # which Litestar adds to every text

AnyRequest = Request[Any, Any, Any]


class Application:
    """Sends each connection to where it is served."""

    __slots__ = ("_auditor", "_objects", "_rest", "_site")

    def __init__(self, objects: ObjectsApplication, site: Site, auditor: Auditor | None = None) -> None:
        self._objects = objects
        self._site = site
        self._rest = site.app()
        self._auditor = auditor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        path: str = scope["path"]
        if b"%" in scope["raw_path"] and scope["type"] == "http":
            try:
                check_path(scope["raw_path"])
            except BadRequestError as error:
                await refuse(Exchange(scope, receive, send), error)
                return
        if path.startswith(("/api/", "/apis/")) or path in {"/api", "/apis"}:
            await self._objects(scope, receive, send)
        else:
            await self._serve_site(scope, receive, send)

    async def _serve_site(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = next((known for known in _COUNTED if scope["path"].startswith(known)), "")
        figures = REQUESTS.labelled(Labels(_method(scope), subresource=place))
        exchange = Exchange({"method": "GET", **scope}, receive, send)
        reply = _Reply(send, exchange.audit_id)
        started = time.monotonic()
        REQUESTS.begin(figures, long_running=False)
        try:
            if await self._let_in(exchange, reply):
                await self._rest(scope, receive, reply)  # pyright: ignore[reportArgumentType]
        finally:
            if reply.entry is not None:
                reply.entry.finish()
            REQUESTS.end(figures, long_running=False)
            if reply.status:
                figures.done(reply.status, time.monotonic() - started, 0.0, reply.size)

    async def _let_in(self, exchange: Exchange, reply: _Reply) -> bool:
        """Return whether the sender of a request is known, and may ask for it; otherwise he is answered."""
        scope, site = exchange.scope, self._site
        caller = NOBODY
        try:
            caller = await site.identify(scope)
            if self._auditor is not None:
                reply.entry = self._begin(self._auditor, exchange, caller)
            caller = await site.assumed(scope, caller)
            if reply.entry is not None:
                reply.entry.assumed(caller)
            await site.permit(scope, caller)
        except (ApiError, UnavailableError) as error:
            if self._auditor is not None and reply.entry is None:
                reply.entry = self._begin(self._auditor, exchange, caller)
            if scope["type"] == "websocket":
                await refuse_websocket(reply, error)
            else:
                await refuse(exchange, error)
                reply.status, reply.size = exchange.status, exchange.size
            if reply.entry is not None and isinstance(error, UnauthorizedError):
                reply.entry.unknown(attempted(scope))
            elif reply.entry is not None:
                reply.entry.finish(error)
            return False
        return True

    def _begin(self, auditor: Auditor, exchange: Exchange, caller: Caller) -> Entry:
        named = exchange.audit_id.decode("latin-1")
        known = caller is not NOBODY
        return auditor.begin(exchange.scope, exchange.headers, named, sent(exchange.scope, caller), known=known)


class _Reply:
    """What the site answers, on its way to the client and into the audit log, with what every answer carries."""

    __slots__ = ("_send", "audit_id", "entry", "size", "status")

    def __init__(self, send: Send, audit_id: bytes) -> None:
        self._send = send
        self.audit_id = audit_id
        self.entry: Entry | None = None
        self.status = 0
        self.size = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.entry is not None:
                self.entry.answered(self.status, b"", "")
            headers: list[Header] = list(message["headers"])
            if not any(name == NOT_CACHED[0] for name, _ in headers):
                headers.append(NOT_CACHED)
            message["headers"] = [*headers, (b"audit-id", self.audit_id)]
        else:
            self.size += len(message.get("body", b""))
        await self._send(message)


def _method(scope: Scope) -> str:
    """Return the verb under which the site's requests are counted; there is no other but get."""
    return "get" if scope.get("method") in {"GET", "HEAD"} else "other"


class Site:
    """The routes that are not objects."""

    def __init__(
        self,
        authenticator: Authenticator,
        authorizer: Authorizer,
        discovery: Discovery,
        documents: OpenApiDocuments,
        tokens: ServiceAccountTokens,
        checks: Mapping[str, Check],
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._impersonation = Impersonation(authorizer)
        self._discovery = discovery
        self._documents = documents
        self._tokens = tokens
        self._healthy = Health("healthz", checks)
        self._ready = Health("readyz", checks)
        self._alive = Health("livez", {name: check for name, check in checks.items() if name in _ALIVE})

    async def identify(self, scope: Scope) -> Caller:
        """Return who asks. Raises UnauthorizedError."""
        return await self._authenticator.identify(presented(scope))

    async def assumed(self, scope: Scope, caller: Caller) -> Caller:
        """Return as whom the caller is served. Raises ForbiddenError."""
        return await self._impersonation.assumed(caller, scope["headers"], partial(asked, scope))

    async def permit(self, scope: Scope, caller: Caller) -> None:
        """Return if the caller may ask for this. Raises ForbiddenError."""
        await self._authorizer.permit_path(caller, scope.get("method", "GET").lower(), scope["path"])

    def app(self) -> Litestar:
        """Return the routes as a Litestar application."""
        return Litestar(
            [*self._health_routes(), *self._document_routes(), *self._token_routes()],
            exception_handlers={Exception: _answer_failure},
            openapi_config=OpenAPIConfig(
                title="orch",
                version=server_version()["gitVersion"],
                description="What the api serves beside Kubernetes' objects; theirs are at /openapi/v2 and v3.",
                path="/docs",
                render_plugins=[SwaggerRenderPlugin(), JsonRenderPlugin()],
            ),
            logging_config=None,
            debug=False,
        )

    def _health_routes(self) -> list[HTTPRouteHandler]:
        @get(["/livez", "/livez/{name:path}"], media_type=MediaType.TEXT, summary="Whether this process runs")
        async def live(request: AnyRequest, name: FromPath[str] = "") -> Response[str]:
            return await self._check(self._alive, request, name)

        @get(["/readyz", "/readyz/{name:path}"], media_type=MediaType.TEXT, summary="Whether it can serve all requests")
        async def ready(request: AnyRequest, name: FromPath[str] = "") -> Response[str]:
            return await self._check(self._ready, request, name)

        @get(["/healthz", "/healthz/{name:path}"], media_type=MediaType.TEXT, summary="What /readyz says")
        async def healthy(request: AnyRequest, name: FromPath[str] = "") -> Response[str]:
            return await self._check(self._healthy, request, name)

        @get("/version", summary="The server's version", sync_to_thread=False)
        def version() -> dict[str, str]:
            return server_version()

        @get("/metrics", media_type=MediaType.TEXT, summary="Metrics for Prometheus")
        async def metrics() -> Response[bytes]:
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST.removesuffix(_CHARSET))

        return [live, ready, healthy, version, metrics]

    def _document_routes(self) -> list[HTTPRouteHandler]:
        @get("/openapi/v2", summary="Kubernetes' OpenAPI 2 document of everything below /api and /apis")
        async def openapi_v2(request: AnyRequest) -> Response[bytes]:
            protobuf = openapi_protobuf.is_asked_for(request.headers.get("accept", ""))
            build = self._documents.v2_protobuf if protobuf else self._documents.v2
            return await _document(request, await asyncio.to_thread(build))

        @get("/openapi/v3", summary="The index of the OpenAPI 3 documents")
        async def openapi_index(request: AnyRequest) -> Response[bytes]:
            return await _document(request, await asyncio.to_thread(self._documents.index))

        @get("/openapi/v3/{place:path}", summary="The OpenAPI 3 document of one group and version")
        async def openapi_v3(request: AnyRequest, place: FromPath[str]) -> Response[bytes]:
            document = await asyncio.to_thread(self._documents.v3, place.strip("/"))
            if document is None:
                raise NotFoundError.path()
            return await _document(request, document)

        @get(["/", "/index.html"], summary="The paths below which something is")
        async def paths() -> dict[str, list[str]]:
            return self._discovery.paths(self._places())

        return [openapi_v2, openapi_index, openapi_v3, paths]

    def _places(self) -> list[str]:
        """Return the paths of what is no object."""
        checked = [place for health in (self._alive, self._ready, self._healthy) for place in health.places()]
        documents = ["/openapi/v2", "/openapi/v3", "/openapi/v3/", issuer.CONFIGURATION_PATH, issuer.KEYS_PATH]
        return [*checked, *documents, "/metrics", "/version"]

    def _token_routes(self) -> list[HTTPRouteHandler]:
        @get(issuer.CONFIGURATION_PATH, summary="Who issues service accounts' tokens, and where the keys are")
        async def token_issuer() -> dict[str, Any]:
            return issuer.configuration(self._tokens)

        @get(issuer.KEYS_PATH, media_type=issuer.KEYS_TYPE, summary="The keys of service accounts' tokens")
        async def token_keys() -> dict[str, Any]:
            return self._tokens.keys.jwks()

        return [token_issuer, token_keys]

    async def _check(self, health: Health, request: AnyRequest, name: str) -> Response[str]:
        if name:
            verdict = await health.one(name.strip("/"))
            if verdict is None:
                raise NotFoundError.path()
        else:
            query = request.query_params
            verdict = await health.all(query.getall("exclude", []), verbose="verbose" in query)
        return _told(verdict)


def _told(verdict: Verdict) -> Response[str]:
    headers = {"x-content-type-options": "nosniff"}
    return Response(verdict.text, status_code=verdict.status, media_type=MediaType.TEXT, headers=headers)


async def _document(request: AnyRequest, document: Document) -> Response[bytes]:
    """Answer with a document that is kept ready, compressed if the client can read that; 304 if it has it already."""
    headers = {"etag": document.etag, "vary": "Accept-Encoding, Accept"}
    if request.headers.get("if-none-match") == document.etag:
        return Response(b"", status_code=304, headers=headers)
    body = document.body
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["content-encoding"] = "gzip"
        body = await asyncio.to_thread(lambda: document.compressed)
    return Response(body, headers=headers, media_type=document.media_type)


def _answer_failure(_: AnyRequest, failure: Exception) -> Response[bytes]:
    if isinstance(failure, HTTPException):  # Litestar's own: no such route, no such method on it
        failure = MethodNotAllowedError() if failure.status_code == 405 else NotFoundError.path()
    error = as_api_error(failure)
    return Response(error.encode(), status_code=error.code, media_type=MediaType.JSON)
