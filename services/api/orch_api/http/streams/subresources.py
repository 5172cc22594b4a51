"""The subresources that are streams: who may use them, and what serves each of them over HTTP and over WebSocket."""

from __future__ import annotations

import logging
from typing import Any, Final

from orch.bus.protocol import Bus
from orch.clock import Clock
from orch.errors import (
    ApiError,
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
    StreamClosedError,
    UnavailableError,
)
from orch.objects.pods import Pod
from orch_api.admission import CONNECT, Chain, Request
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.http.exchange import Exchange, Receive, Scope, Send
from orch_api.http.request import Target, flag, text
from orch_api.http.spdy.connection import SpdyConnection
from orch_api.http.streams import portforward
from orch_api.http.streams.collected_logs import send_collected
from orch_api.http.streams.commands import (
    SPDY_PROTOCOLS,
    SocketTerminal,
    SpdyTerminal,
    attach_request,
    exec_request,
    first_channel,
    negotiated,
    run_command,
)
from orch_api.http.streams.locations import Locations
from orch_api.http.streams.logs import log_request, send_logs
from orch_api.http.streams.pods import PodNodes, Query
from orch_api.http.streams.portforward import PortForwarder, ports_of
from orch_api.http.streams.proxy import VERBS, Proxy
from orch_api.http.upgrade import UPGRADE, RawLink, Upgrade
from orch_api.http.websocket import COMMANDS, ERROR, PORTS, TUNNELS, Channels, WebSocket, WebSocketLink
from orch_api.http.websocket_logs import WebSocketLog
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_pb.v1 import node_pb2

_log = logging.getLogger(__name__)

_SERVED: Final = frozenset(
    {
        ("pods", "log"),
        ("pods", "exec"),
        ("pods", "attach"),
        ("pods", "portforward"),
        ("pods", "proxy"),
        ("services", "proxy"),
        ("nodes", "proxy"),
    }
)
_METHODS: Final = {
    "log": frozenset({"GET", "HEAD"}),
    **dict.fromkeys(("exec", "attach", "portforward"), frozenset({"GET", "POST"})),
}
_TEXT_OPTIONS: Final = ("container", "path")
_FLAG_OPTIONS: Final = ("stdin", "stdout", "stderr", "tty")
_SPDY: Final = "spdy/3.1"
_VERSION: Final = b"x-stream-protocol-version"
_ACCEPTED: Final = b"x-accepted-stream-protocol-versions"


class Streams:
    """Serves the streaming subresources of pods, services and nodes."""

    def __init__(self, bus: Bus, cache: ObjectCache, authorizer: Authorizer, admission: Chain, clock: Clock) -> None:
        self._authorizer = authorizer
        self._admission = admission
        self._clock = clock
        self._bus = bus
        self._nodes = PodNodes(bus, cache)
        self._proxy = Proxy(Locations(cache, self._nodes), self._nodes)

    def serves(self, resource: Resource, subresource: str) -> bool:
        """Return whether a subresource is a stream."""
        return not resource.group and (resource.plural, subresource) in _SERVED

    async def http(self, exchange: Exchange, caller: Caller, resource: Resource, target: Target, query: Query) -> None:
        """Answer an HTTP request, which may offer an upgrade to SPDY. Raises ApiError."""
        if target.subresource == "proxy":
            await self._authorize(caller, VERBS[exchange.method], resource, target)
            if UPGRADE in exchange.scope:  # what a connection carries both ways is more than a look
                await self._authorize(caller, "create", resource, target)
            await self._admit(caller, resource, target, query)
            await self._proxy.serve(exchange, target)
        elif exchange.method not in _METHODS[target.subresource]:
            raise MethodNotAllowedError
        elif target.subresource == "log":
            await self._authorize(caller, "get", resource, target)
            pod = await self._nodes.find(target.namespace, target.name)
            request = log_request(pod, query)
            await exchange.body()
            try:
                stream = await self._nodes.open(pod.spec.node_name, "logs", request.SerializeToString())
            except UnavailableError as error:
                await send_collected(exchange, self._bus, self._clock, pod, request, error)
                return
            async with stream:
                await send_logs(exchange, stream)
        else:
            await self._authorize(caller, "create", resource, target)
            await self._admit(caller, resource, target, query)
            await self._spdy(exchange, target, query)

    async def _spdy(self, exchange: Exchange, target: Target, query: Query) -> None:
        """Serve a command or forwarded ports over SPDY. Raises ApiError before the connection is upgraded."""
        upgrade: Upgrade | None = exchange.scope.get(UPGRADE)
        if upgrade is None or upgrade.protocol != _SPDY:
            raise BadRequestError("Upgrade request required")
        offered = [
            token.strip().decode("latin-1")
            for name, value in exchange.scope["headers"]
            if name == _VERSION
            for token in value.split(b",")
        ]
        pod = await self._nodes.find(target.namespace, target.name)
        if target.subresource == "portforward":
            if offered and portforward.PROTOCOL not in offered:
                await _refuse_protocols(exchange, offered, (portforward.PROTOCOL,))
                return
            link = await _upgraded(exchange, upgrade, portforward.PROTOCOL)
            async with SpdyConnection(link, self._clock) as connection:
                await PortForwarder(self._nodes, pod).over_spdy(connection)
            return
        verb, request = _command_request(target.subresource, pod, query)
        protocol = negotiated(offered)
        if not protocol:
            await _refuse_protocols(exchange, offered, SPDY_PROTOCOLS)
            return
        # The node is asked first: what it refuses is refused before the connection is anything but HTTP.
        async with await self._nodes.open(pod.spec.node_name, verb, request.SerializeToString()) as stream:
            link = await _upgraded(exchange, upgrade, protocol if offered else "")
            async with SpdyConnection(link, self._clock) as connection:
                try:
                    terminal = await SpdyTerminal.of(connection, request, protocol)
                except StreamClosedError as error:
                    _log.info("a command was given up: %s", error)
                    return
                await run_command(terminal, stream)

    async def websocket(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        resource: Resource,
        target: Target,
        query: Query,
    ) -> None:
        """Serve a log, exec, attach or port-forward over a WebSocket. Raises ApiError before it is accepted."""
        if target.subresource == "log" and self.serves(resource, "log"):
            await self.http(WebSocketLog(scope, receive, send), caller, resource, target, query)
            return
        if target.subresource not in {"exec", "attach", "portforward"} or not self.serves(resource, target.subresource):
            raise NotFoundError.path()
        await self._authorize(caller, "create", resource, target)
        await self._admit(caller, resource, target, query)
        pod = await self._nodes.find(target.namespace, target.name)
        if target.subresource == "portforward":
            await self._ports_over_websocket(scope, receive, send, pod, query)
            return
        verb, request = _command_request(target.subresource, pod, query)
        channels = Channels(await WebSocket.accept(scope, receive, send, COMMANDS))
        try:
            await channels.send(first_channel(request), b"")
            stream = await self._nodes.open(pod.spec.node_name, verb, request.SerializeToString())
        except ApiError as error:
            await channels.send(ERROR, error.encode() if channels.versioned else error.message.encode())
            await channels.close()
            return
        async with stream:
            await run_command(SocketTerminal(channels), stream)
        await channels.close()

    async def _ports_over_websocket(self, scope: Scope, receive: Receive, send: Send, pod: Pod, query: Query) -> None:
        forwarder = PortForwarder(self._nodes, pod)
        offered: list[str] = scope.get("subprotocols", [])
        if any(protocol in TUNNELS for protocol in offered):
            socket = await WebSocket.accept(scope, receive, send, TUNNELS)
            async with SpdyConnection(WebSocketLink(socket), self._clock) as connection:
                await forwarder.over_spdy(connection)
            return
        ports = ports_of(query)
        channels = Channels(await WebSocket.accept(scope, receive, send, PORTS))
        await forwarder.over_channels(channels, ports)

    async def _authorize(self, caller: Caller, verb: str, resource: Resource, target: Target) -> None:
        await self._authorizer.permit(caller, verb, resource, target.namespace, target.name, target.subresource)

    async def _admit(self, caller: Caller, resource: Resource, target: Target, query: Query) -> None:
        """Let admission refuse the connection. What is asked for is shown to it as the kind of the subresource."""
        if not self._admission.concerns(CONNECT, resource, target.subresource):
            return
        document = _options_document(resource, target, query)
        request = Request(caller, CONNECT, resource, target.subresource, target.namespace, target.name, document, None)
        await self._admission.mutate(request)
        await self._admission.validate(request)


def _options_document(resource: Resource, target: Target, query: Query) -> dict[str, Any]:
    """Return the query as the options that Kubernetes decodes of it, such as PodExecOptions."""
    kind = resource.subresources[target.subresource]
    document: dict[str, Any] = {"kind": kind.kind, "apiVersion": f"{kind.group}/{kind.version}".lstrip("/")}
    document |= {name: text(query, name) for name in _TEXT_OPTIONS if name in query}
    document |= {name: flag(query, name) for name in _FLAG_OPTIONS if name in query}
    if "command" in query:
        document["command"] = list(query["command"])
    if "ports" in query:
        document["ports"] = [int(port) for value in query["ports"] for port in value.split(",") if port.isdigit()]
    return document


def _command_request(
    subresource: str, pod: Pod, query: Query
) -> tuple[str, node_pb2.ExecRequest | node_pb2.AttachRequest]:
    """Return the node's verb and its request. Raises BadRequestError."""
    if subresource == "exec":
        return "exec", exec_request(pod, query)
    return "attach", attach_request(pod, query)


async def _upgraded(exchange: Exchange, upgrade: Upgrade, protocol: str) -> RawLink:
    """Accept a connection's upgrade to SPDY."""
    headers = [(b"connection", b"Upgrade"), (b"upgrade", b"SPDY/3.1")]
    if protocol:
        headers.append((_VERSION, protocol.encode()))
    link = await upgrade.accept(headers)
    exchange.switched()
    return link


async def _refuse_protocols(exchange: Exchange, offered: list[str], spoken: tuple[str, ...]) -> None:
    """Answer as kubelet does when no protocol is common."""
    problem = (
        "unable to upgrade: unable to negotiate protocol: "
        f"client supports [{' '.join(offered)}], server accepts [{' '.join(spoken)}]"
    )
    headers = [(_ACCEPTED, protocol.encode()) for protocol in spoken]
    await exchange.answer(403, problem.encode(), "text/plain; charset=utf-8", headers)
