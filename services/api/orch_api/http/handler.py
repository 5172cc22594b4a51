"""The application behind /api and /apis: every request for an object, from its headers to its answer.

It is plain ASGI rather than a route a resource: the registry decides what exists, and this is the hottest path.
"""

from __future__ import annotations

from functools import partial

from opentelemetry.trace import SpanKind

from orch import telemetry
from orch.errors import ApiError, MethodNotAllowedError, NotFoundError
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.auth.impersonation import Impersonation
from orch_api.extensions.follower import DefinitionFollower
from orch_api.http.aggregation import Aggregation
from orch_api.http.care import NOBODY, Care
from orch_api.http.credentials import asked, presented
from orch_api.http.discovery import Discovery
from orch_api.http.exchange import Disconnected, Exchange, Header, Receive, Scope, Send
from orch_api.http.media import accepted
from orch_api.http.metrics_apis import MetricsApis
from orch_api.http.objects import ObjectRequests
from orch_api.http.request import Call, Target, parse_path, parse_query, verb_of
from orch_api.http.streams import Streams
from orch_api.http.websocket_tokens import take_authorization
from orch_api.http.websocket_watch import WebSocketExchange
from orch_api.registry import Registry, Resource
from orch_pb.v1.object_pb2 import TraceContext


class ObjectsApplication:
    """Kubernetes' resource paths as an ASGI application."""

    def __init__(
        self,
        registry: Registry,
        discovery: Discovery,
        authenticator: Authenticator,
        authorizer: Authorizer,
        objects: ObjectRequests,
        streams: Streams,
        care: Care,
        definitions: DefinitionFollower,
        aggregation: Aggregation,
        metrics: MetricsApis,
    ) -> None:
        self._registry = registry
        self._discovery = discovery
        self._authorizer = authorizer
        self._impersonation = Impersonation(authorizer)
        self._authenticator = authenticator
        self._objects = objects
        self._streams = streams
        self._care = care
        self._definitions = definitions
        self._aggregation = aggregation
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        caller = NOBODY
        try:
            caller = await self._authenticator.identify(presented(scope))
            caller = await self._impersonation.assumed(caller, scope["headers"], partial(asked, scope))
            await self._serve(exchange, caller)
        except Disconnected:
            pass
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            await self._care.refuse(exchange, caller, error)

    async def _serve(self, exchange: Exchange, caller: Caller) -> None:
        if await self._aggregation.answer(exchange, caller, self._care):
            return
        if await self._metrics.answer(exchange, caller, self._care):
            return
        target = parse_path(exchange.scope["path"])
        if target is None:
            await self._care.path(exchange, caller, lambda: self._discover(exchange, caller))
            return
        if target.group and self._registry.find(target.group, target.version, target.resource) is None:
            await self._definitions.catch_up()  # another process may have established it a moment ago
        try:
            call = self._call(exchange, caller, target)
        except ApiError as error:
            problem = error
            await self._care.path(exchange, caller, lambda: self._refuse(exchange.scope, caller, problem))
            return
        await self._care.resource(exchange, call, lambda: self._answer(exchange, call))

    async def _refuse(self, scope: Scope, caller: Caller, problem: ApiError) -> None:
        """Raise what is wrong with a request; what is served at all is told only to those who might ask for it."""
        await self._authorizer.require(caller, asked(scope))
        raise problem

    def _call(self, exchange: Exchange, caller: Caller, target: Target) -> Call:
        """Return what a request asks for. Raises ApiError."""
        resource = self._resource_of(target)
        query = parse_query(exchange.scope["query_string"])
        verb = verb_of(exchange.method, target, query)
        streams = bool(target.subresource) and self._streams.serves(resource, target.subresource)
        return Call(caller, verb, resource, target, query, streams)

    async def _answer(self, exchange: Exchange, call: Call) -> None:
        caller, verb, resource, target, query = call.caller, call.verb, call.resource, call.target, call.query
        if verb == "watch":
            await self._objects.watch(exchange, caller, resource, target, query)
            return
        attributes = {"http.request.method": exchange.method, "url.path": exchange.scope["path"]}
        name = f"{exchange.method} {target.resource}"
        with telemetry.span(name, parent=trace_of(exchange), kind=SpanKind.SERVER, attributes=attributes):
            if call.streams:
                await self._streams.http(exchange, caller, resource, target, query)
            else:
                await self._objects.serve(exchange, caller, verb, resource, target, query)

    async def _discover(self, exchange: Exchange, caller: Caller) -> None:
        """Answer with what is served: plain, or aggregated for a client that accepts that."""
        path: str = exchange.scope["path"].rstrip("/")
        await self._authorizer.permit_path(caller, exchange.method.lower(), path)
        if exchange.method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError
        await self._definitions.catch_up()
        form = accepted(exchange.header(b"accept"), discovery=True)
        aggregated = form.version if form.form == "APIGroupDiscoveryList" else ""
        document = self._discovery.find(path, aggregated)
        if document is None:
            raise NotFoundError.path()
        headers: list[Header] = [(b"etag", document.etag.encode()), (b"vary", b"Accept")]
        if exchange.header(b"if-none-match") == document.etag:
            await exchange.answer(304, b"", document.media_type, headers)
            return
        await exchange.answer(200, document.body, document.media_type, headers)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller, offered = NOBODY, {**scope}
        try:
            caller = await self._authenticator.identify(presented(scope, take_authorization(scope)))
            caller = await self._impersonation.assumed(caller, scope["headers"], partial(asked, scope))
            try:
                target, resource = self.resolve(scope["path"])
            except NotFoundError:
                await self._authorizer.require(caller, asked(scope))
                raise
            query = parse_query(scope["query_string"])
            if verb_of("GET", target, query) == "watch":
                watch = Call(caller, "watch", resource, target, query)
                exchange = WebSocketExchange(scope, receive, send)
                await self._care.resource(exchange, watch, lambda: self._answer(exchange, watch))
                return
            call = Call(caller, "get", resource, target, query, streams=True)
            await self._care.websocket(
                scope,
                send,
                call,
                lambda told: self._streams.websocket(scope, receive, told, caller, resource, target, query),
            )
        except Exception as error:  # noqa: BLE001 - as above
            await self._care.refuse_websocket(offered, send, caller, error)

    def resolve(self, path: str) -> tuple[Target, Resource]:
        """Return what a path names. Raises NotFoundError when nothing is served there."""
        target = parse_path(path)
        if target is None:
            raise NotFoundError.path()
        return target, self._resource_of(target)

    def _resource_of(self, target: Target) -> Resource:
        resource = self._registry.find(target.group, target.version, target.resource)
        if resource is None or (target.namespace and not resource.namespaced):
            raise NotFoundError.path()
        if target.name and resource.namespaced and not target.namespace:
            raise NotFoundError.path()
        if target.subresource and target.subresource not in resource.subresources:
            raise NotFoundError.path()
        return resource


def trace_of(exchange: Exchange) -> TraceContext | None:
    """Return the trace context that the client sent, if any."""
    parent = exchange.header(b"traceparent")
    return TraceContext(traceparent=parent, tracestate=exchange.header(b"tracestate")) if parent else None
