"""Pods' logs and exec: an HTTP answer or a WebSocket on one side, a flow-controlled stream to the node on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from orch.bus.protocol import Bus
from orch.bus.streams import FrameStream, open_stream
from orch.bus.subjects import node_rpc_subject
from orch.clock import Clock
from orch.errors import (
    ApiError,
    BadRequestError,
    Cause,
    InvalidError,
    NotFoundError,
    StreamClosedError,
    UnavailableError,
)
from orch.objects.pods import ContainerStatus, Pod
from orch.store.keys import ObjectKey
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.http.exchange import Exchange, Receive, Scope, Send
from orch_api.http.request import Target, flag, number, text
from orch_api.http.websocket import CLOSE, ERROR, STDERR, STDIN, STDOUT, Channels
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_pb.v1 import node_pb2

Query = Mapping[str, list[str]]

_OPEN_DEADLINE: Final = 10.0
_SERVED: Final = frozenset({"log", "exec"})

_pods = msgspec.json.Decoder(Pod)


class PodStreams:
    """Serves the streaming subresources of pods."""

    def __init__(self, bus: Bus, cache: ObjectCache, authorizer: Authorizer, clock: Clock) -> None:
        self._bus = bus
        self._cache = cache
        self._authorizer = authorizer
        self._clock = clock

    def serves(self, resource: Resource, subresource: str) -> bool:
        """Return whether a subresource is a stream."""
        return resource.plural == "pods" and not resource.group and subresource in _SERVED

    async def http(self, exchange: Exchange, caller: Caller, resource: Resource, target: Target, query: Query) -> None:
        """Answer a plain HTTP request: logs; exec needs an upgraded connection. Raises ApiError."""
        if target.subresource != "log":
            self._authorizer.authorize(caller, "create", resource, target.namespace, target.name, target.subresource)
            raise BadRequestError("you must specify at least 1 of stdin, stdout, stderr over an upgraded connection")
        self._authorizer.authorize(caller, "get", resource, target.namespace, target.name, "log")
        pod = await self._pod(target)
        request = log_request(pod, query)
        await exchange.body()
        stream = await self._open(pod, "logs", request.SerializeToString())
        async with stream:
            await self._send_logs(exchange, stream)

    async def _send_logs(self, exchange: Exchange, stream: FrameStream) -> None:
        async def copy() -> None:
            async for _, data in stream:
                if data is None:
                    break
                if not exchange.started:
                    await exchange.start("text/plain")
                await exchange.write(data)

        copying = asyncio.ensure_future(copy())
        gone = asyncio.ensure_future(exchange.gone())
        try:
            await asyncio.wait((copying, gone), return_when=asyncio.FIRST_COMPLETED)
            if copying.done():
                copying.result()
        finally:
            copying.cancel()
            gone.cancel()
            await asyncio.gather(copying, gone, return_exceptions=True)
        if not exchange.started:
            await exchange.answer(200, b"", "text/plain")
        else:
            await exchange.end()

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
        """Serve exec over a WebSocket. Raises ApiError before the connection is accepted."""
        if target.subresource != "exec" or not self.serves(resource, "exec"):
            raise NotFoundError.path()
        self._authorizer.authorize(caller, "create", resource, target.namespace, target.name, "exec")
        pod = await self._pod(target)
        request = exec_request(pod, query)
        first = STDOUT if request.stdout else STDERR if request.stderr else ERROR
        channels = await Channels.accept(scope, receive, send, first)
        try:
            stream = await self._open(pod, "exec", request.SerializeToString())
        except ApiError as error:
            await channels.send(ERROR, error.encode())
            await channels.close()
            return
        async with stream:
            await _join(channels, stream)

    async def _pod(self, target: Target) -> Pod:
        await self._cache.catch_up()
        item = self._cache.get(ObjectKey("", "pods", target.namespace, target.name))
        if item is None:
            raise NotFoundError.of("pods", "", target.name)
        pod = _pods.decode(item.json)
        if not pod.spec.node_name:
            raise BadRequestError(f"pod {target.name} does not have a host assigned")
        return pod

    async def _open(self, pod: Pod, verb: str, request: bytes) -> FrameStream:
        subject = node_rpc_subject(pod.spec.node_name, verb)
        try:
            return await open_stream(self._bus, subject, request, timeout=_OPEN_DEADLINE)
        except UnavailableError as error:
            raise UnavailableError(f"node {pod.spec.node_name} does not answer: {error}") from error


async def _join(channels: Channels, stream: FrameStream) -> None:
    """Copy both ways until either side ends."""

    async def to_node() -> None:
        async for channel, data in channels:
            if channel == CLOSE:
                await stream.end(data[0] if data else STDIN)
            elif data or channel != STDIN:
                await stream.send(channel, data)

    async def to_client() -> None:
        try:
            async for channel, data in stream:
                if data is not None:
                    await channels.send(channel, data)
        except (StreamClosedError, ApiError) as error:
            status = error if isinstance(error, ApiError) else ApiError(f"the node's stream broke: {error}")
            await channels.send(ERROR, status.encode())

    inward, outward = asyncio.ensure_future(to_node()), asyncio.ensure_future(to_client())
    try:
        await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
        if not outward.done() and not channels.gone:
            await outward
    finally:
        inward.cancel()
        outward.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)
        await channels.close()


def _names(pod: Pod) -> tuple[list[str], list[str]]:
    return [c.name for c in pod.spec.containers], [c.name for c in pod.spec.init_containers]


def container_of(pod: Pod, asked: str) -> str:
    """Return the container that a request speaks of. Raises BadRequestError, worded as Kubernetes does."""
    names, init_names = _names(pod)
    name = pod.metadata.name
    if asked:
        if asked not in names and asked not in init_names:
            raise BadRequestError(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1 and not init_names:
        return names[0]
    default = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
    if default in names:
        return default
    if len(names) == 1:
        return names[0]
    problem = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if init_names:
        problem += f" or one of the init containers: [{' '.join(init_names)}]"
    raise BadRequestError(problem)


def _status_of(pod: Pod, container: str) -> ContainerStatus | None:
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        if status.name == container:
            return status
    return None


def log_request(pod: Pod, query: Query) -> node_pb2.LogsRequest:
    """Return what to ask the node for. Raises BadRequestError and InvalidError for options that make no sense."""
    container = container_of(pod, text(query, "container"))
    previous = flag(query, "previous")
    status = _status_of(pod, container)
    name = pod.metadata.name
    if previous:
        if status is None or status.last_state.terminated is None:
            raise BadRequestError(f'previous terminated container "{container}" in pod "{name}" not found')
    elif status is None or (status.state.waiting is not None and status.last_state.terminated is None):
        reason = status.state.waiting.reason if status is not None and status.state.waiting else "ContainerCreating"
        verb = "trying and failing to pull image" if reason in {"ErrImagePull", "ImagePullBackOff"} else ""
        problem = verb or f"waiting to start: {reason}"
        raise BadRequestError(f'container "{container}" in pod "{name}" is {problem}')
    request = node_pb2.LogsRequest(
        namespace=pod.metadata.namespace,
        pod=name,
        uid=pod.metadata.uid,
        container=container,
        follow=flag(query, "follow"),
        previous=previous,
        timestamps=flag(query, "timestamps"),
        since_time=text(query, "sinceTime"),
    )
    for field, option, least in (
        ("tail_lines", "tailLines", 0),
        ("since_seconds", "sinceSeconds", 1),
        ("limit_bytes", "limitBytes", 1),
    ):
        value = number(query, option)
        if value is None:
            continue
        if value < least:
            bound = "greater than or equal to 0" if least == 0 else "greater than 0"
            problem = Cause("FieldValueInvalid", f"Invalid value: {value}: must be {bound}", option)
            raise InvalidError.of("PodLogOptions", "", name, [problem])
        setattr(request, field, value)
    if request.since_time and request.HasField("since_seconds"):
        problem = Cause(
            "FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", ""
        )
        raise InvalidError.of("PodLogOptions", "", name, [problem])
    return request


def exec_request(pod: Pod, query: Query) -> node_pb2.ExecRequest:
    """Return what to ask the node for. Raises BadRequestError."""
    command = query.get("command", [])
    if not command:
        raise BadRequestError("you must specify at least one command for the container")
    stdin, stdout, stderr, tty = (flag(query, name) for name in ("stdin", "stdout", "stderr", "tty"))
    if not (stdin or stdout or stderr):
        raise BadRequestError("you must specify at least one of stdin, stdout, stderr")
    if tty and stderr:
        raise BadRequestError("tty and stderr cannot both be true")
    if pod.status.phase in {"Succeeded", "Failed"}:
        raise BadRequestError(f"cannot exec into a container in a completed pod; current phase is {pod.status.phase}")
    return node_pb2.ExecRequest(
        namespace=pod.metadata.namespace,
        pod=pod.metadata.name,
        uid=pod.metadata.uid,
        container=container_of(pod, text(query, "container")),
        command=command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        tty=tty,
    )
