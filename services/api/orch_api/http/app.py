"""The whole HTTP application.

Everything below /api and /apis goes to the objects' application at once, since that is nearly all traffic. Litestar
serves the rest: health, version, metrics, Kubernetes' OpenAPI documents, and its own OpenAPI page at /docs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from litestar import Litestar, MediaType, Request, Response, get  # pyright: ignore[reportUnknownVariableType]
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.params import FromPath
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orch.errors import NotFoundError, OrchError
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.authorizer import Authorizer
from orch_api.http import openapi_protobuf
from orch_api.http.discovery import Discovery, server_version
from orch_api.http.document import Document
from orch_api.http.exchange import Receive, Scope, Send
from orch_api.http.handler import ObjectsApplication, as_api_error
from orch_api.http.openapi import OpenApiDocuments
from orch_api.http.server import PEER

Check = Callable[[], Awaitable[None]]
"""Raises an OrchError when what it checks is not well."""

_CHECK_DEADLINE: Final = 5.0

AnyRequest = Request[Any, Any, Any]


class Application:
    """Sends each connection to where it is served."""

    __slots__ = ("_objects", "_rest")

    def __init__(self, objects: ObjectsApplication, rest: Litestar) -> None:
        self._objects = objects
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        path: str = scope["path"]
        if path.startswith(("/api/", "/apis/")) or path in {"/api", "/apis"}:
            await self._objects(scope, receive, send)
        else:
            await self._rest(scope, receive, send)  # pyright: ignore[reportArgumentType]


class Site:
    """The routes that are not objects."""

    def __init__(
        self,
        authenticator: Authenticator,
        authorizer: Authorizer,
        discovery: Discovery,
        documents: OpenApiDocuments,
        checks: Mapping[str, Check],
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._discovery = discovery
        self._documents = documents
        self._checks = checks

    def app(self) -> Litestar:
        """Return the routes as a Litestar application."""

        @get(
            ["/healthz", "/livez"],
            media_type=MediaType.TEXT,
            summary="Whether this process serves",
            sync_to_thread=False,
        )
        def live() -> str:
            return "ok"

        @get("/readyz", media_type=MediaType.TEXT, summary="Whether this process can serve every request")
        async def ready(request: AnyRequest) -> Response[str]:
            return await self._ready(verbose="verbose" in request.query_params)

        @get("/version", summary="The server's version", sync_to_thread=False)
        def version() -> dict[str, str]:
            return server_version()

        @get("/metrics", media_type=MediaType.TEXT, summary="Metrics for Prometheus", sync_to_thread=False)
        def metrics(request: AnyRequest) -> Response[bytes]:
            self._authorize(request)
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        @get("/openapi/v2", summary="Kubernetes' OpenAPI 2 document of everything below /api and /apis")
        async def openapi_v2(request: AnyRequest) -> Response[bytes]:
            self._authorize(request)
            protobuf = openapi_protobuf.is_asked_for(request.headers.get("accept", ""))
            build = self._documents.v2_protobuf if protobuf else self._documents.v2
            return await _document(request, await asyncio.to_thread(build))

        @get("/openapi/v3", summary="The index of the OpenAPI 3 documents")
        async def openapi_index(request: AnyRequest) -> Response[bytes]:
            self._authorize(request)
            return await _document(request, await asyncio.to_thread(self._documents.index))

        @get("/openapi/v3/{place:path}", summary="The OpenAPI 3 document of one group and version")
        async def openapi_v3(request: AnyRequest, place: FromPath[str]) -> Response[bytes]:
            self._authorize(request)
            document = await asyncio.to_thread(self._documents.v3, place.strip("/"))
            if document is None:
                raise NotFoundError.path()
            return await _document(request, document)

        return Litestar(
            [live, ready, version, metrics, openapi_v2, openapi_index, openapi_v3],
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

    def _authorize(self, request: AnyRequest) -> None:
        peer = cast("Mapping[str, Any]", request.scope).get(PEER)
        caller = self._authenticator.identify(peer, request.headers.get("authorization", ""))
        self._authorizer.authorize_path(caller, request.method.lower(), request.scope["path"])

    async def _ready(self, *, verbose: bool) -> Response[str]:
        lines: list[str] = []
        healthy = True
        for name, check in self._checks.items():
            try:
                async with asyncio.timeout(_CHECK_DEADLINE):
                    await check()
            except (OrchError, TimeoutError) as error:
                healthy = False
                lines.append(f"[-]{name} failed: {error or 'no answer in time'}")
            else:
                lines.append(f"[+]{name} ok")
        if healthy and not verbose:
            return Response("ok", media_type=MediaType.TEXT)
        lines.append("readyz check passed" if healthy else "readyz check failed")
        return Response("\n".join(lines) + "\n", status_code=200 if healthy else 500, media_type=MediaType.TEXT)


async def _document(request: AnyRequest, document: Document) -> Response[bytes]:
    """Answer with a document that is kept ready, compressed if the client can read that; 304 if it has it already."""
    headers = {"etag": document.etag, "vary": "Accept-Encoding, Accept"}
    if request.headers.get("if-none-match") == document.etag:
        return Response(b"", status_code=304, headers=headers)
    body = document.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = await asyncio.to_thread(lambda: document.compressed)
    return Response(body, headers=headers, media_type=document.media_type)


def _answer_failure(_: AnyRequest, failure: Exception) -> Response[bytes]:
    code = getattr(failure, "status_code", None)
    error = NotFoundError.path() if code == 404 else as_api_error(failure)
    return Response(error.encode(), status_code=error.code, media_type=MediaType.JSON)
