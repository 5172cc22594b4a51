"""What may be asked of a node: a container's logs, and commands inside a container. Frames as in proto/node.proto."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec
from google.protobuf.message import DecodeError

from orch.bus import subjects
from orch.bus.protocol import Bus, Subscription
from orch.bus.streams import FrameStream, serve_streams
from orch.clock import Clock, parse_rfc3339
from orch.errors import (
    ApiError,
    BadRequestError,
    Cause,
    InternalError,
    NotFoundError,
    ServiceUnavailableError,
    Status,
    StatusDetails,
    StreamClosedError,
    UnavailableError,
)
from orch_agent.pods.assignments import Assignments
from orch_agent.pods.host import PodHost
from orch_agent.pods.worker import PodWorker
from orch_agent.runtimes.protocol import (
    STDERR,
    STDIN,
    STDOUT,
    ContainerError,
    ContainerInfo,
    ExecSession,
    ExecSpec,
    LogQuery,
    State,
)
from orch_pb.v1 import node_pb2

_LOG: Final = logging.getLogger(__name__)
_LOG_CHANNEL: Final = 1
_ERROR_CHANNEL: Final = 3
_RESIZE_CHANNEL: Final = 4


class _Size(msgspec.Struct, frozen=True, rename="pascal"):
    """A terminal's size, as kubectl sends it."""

    width: int = 0
    height: int = 0


class NodeStreams:
    """Serves the streams of one node, or of all nodes of a simulated fleet."""

    def __init__(self, bus: Bus, assignments: Assignments, clock: Clock) -> None:
        self._bus = bus
        self._assignments = assignments
        self._clock = clock

    async def serve(self, node: str) -> list[Subscription]:
        """Serve the requests to `node`; "" means every node."""

        def subject(verb: str) -> str:
            return subjects.node_rpc_subject(node, verb) if node else subjects.node_rpc_requests(verb)

        return [
            await serve_streams(self._bus, subject("logs"), self._logs, check=self._check_logs),
            await serve_streams(self._bus, subject("exec"), self._exec, check=self._check_exec),
        ]

    # -- logs ----------------------------------------------------------------------------------------------------

    async def _check_logs(self, request: bytes) -> None:
        self._find_logs(_parse(node_pb2.LogsRequest, request))

    async def _logs(self, request: bytes, stream: FrameStream) -> None:
        wanted = _parse(node_pb2.LogsRequest, request)
        worker, info = self._find_logs(wanted)
        query = LogQuery(
            follow=wanted.follow and not wanted.previous,
            tail=wanted.tail_lines if wanted.HasField("tail_lines") else None,
            since=self._since(wanted),
        )
        left = wanted.limit_bytes if wanted.HasField("limit_bytes") else None
        peer_gone = asyncio.ensure_future(_until_closed(stream))
        sending = asyncio.ensure_future(self._send_logs(worker.host, info.id, query, wanted.timestamps, left, stream))
        try:
            await asyncio.wait((peer_gone, sending), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await _cancel(peer_gone, sending)

    async def _send_logs(
        self, host: PodHost, container: str, query: LogQuery, timestamps: bool, left: int | None, stream: FrameStream
    ) -> None:
        begins_line = True
        try:
            async with aclosing(host.runtime.logs(container, query)) as batches:
                async for lines in batches:
                    pieces: list[bytes] = []
                    for line in lines:
                        if timestamps and begins_line:
                            pieces.append(f"{line.time} ".encode())
                        begins_line = line.data.endswith(b"\n")
                        pieces.append(line.data)
                    data = b"".join(pieces)[:left]
                    await stream.send(_LOG_CHANNEL, data)
                    if left is not None:
                        left -= len(data)
                        if not left:
                            break
            await stream.end(_LOG_CHANNEL)
        except ContainerError as error:
            raise InternalError(str(error)) from error
        except UnavailableError as error:
            raise ServiceUnavailableError(str(error)) from error

    def _find_logs(self, wanted: node_pb2.LogsRequest) -> tuple[PodWorker, ContainerInfo]:
        worker, container = self._find(wanted.namespace, wanted.pod, wanted.uid, wanted.container)
        info = worker.container(container, previous=wanted.previous)
        if info is None or not info.id or info.state is State.CREATED:
            if wanted.previous:
                raise BadRequestError(f'previous terminated container "{container}" in pod "{wanted.pod}" not found')
            reason = worker.waiting_reason(container)
            raise BadRequestError(f'container "{container}" in pod "{wanted.pod}" is waiting to start: {reason}')
        return worker, info

    def _since(self, wanted: node_pb2.LogsRequest) -> datetime | None:
        if wanted.since_time:
            try:
                return parse_rfc3339(wanted.since_time)
            except ValueError as error:
                raise BadRequestError(f"sinceTime: {error}") from error
        if wanted.HasField("since_seconds"):
            return self._clock.now() - timedelta(seconds=wanted.since_seconds)
        return None

    # -- exec ----------------------------------------------------------------------------------------------------

    async def _check_exec(self, request: bytes) -> None:
        self._find_running(_parse(node_pb2.ExecRequest, request))

    async def _exec(self, request: bytes, stream: FrameStream) -> None:
        wanted = _parse(node_pb2.ExecRequest, request)
        worker, info = self._find_running(wanted)
        spec = ExecSpec(command=tuple(wanted.command), stdin=wanted.stdin, tty=wanted.tty)
        try:
            session = await worker.host.runtime.exec(info.id, spec)
        except ContainerError as error:
            await _tell_end(stream, _failure(f"error executing command in container: {error}"))
            return
        except UnavailableError as error:
            raise ServiceUnavailableError(str(error)) from error
        feeding = asyncio.ensure_future(_feed(session, stream))
        running = asyncio.ensure_future(_run(session, stream, wanted))
        try:
            await asyncio.wait((feeding, running), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            else:
                # The caller went away: without its input a well-behaved command ends by itself.
                _LOG.info("the caller of a command in pod %s/%s went away", wanted.namespace, wanted.pod)
        finally:
            await _cancel(feeding, running)
            await session.close()

    def _find_running(self, wanted: node_pb2.ExecRequest) -> tuple[PodWorker, ContainerInfo]:
        if not wanted.command:
            raise BadRequestError("you must specify at least 1 command for the container")
        worker, container = self._find(wanted.namespace, wanted.pod, wanted.uid, wanted.container)
        info = worker.container(container)
        if info is None or info.state is not State.RUNNING:
            raise BadRequestError(f'container not found ("{container}")')
        return worker, info

    def _find(self, namespace: str, name: str, uid: str, container: str) -> tuple[PodWorker, str]:
        worker = self._assignments.worker(uid) if uid else self._assignments.worker_named(namespace, name)
        if worker is None:
            raise NotFoundError.of("pods", "", name)
        spec = worker.pod.spec
        names = [each.name for each in (*spec.containers, *spec.init_containers)]
        container = container or names[0]
        if container not in names:
            raise BadRequestError(f"container {container} is not valid for pod {name}")
        return worker, container


async def _run(session: ExecSession, stream: FrameStream, wanted: node_pb2.ExecRequest) -> None:
    """Pass on what the command writes, then how it ended."""
    async with aclosing(session.output()) as output:
        async for channel, data in output:
            if (channel == STDOUT and wanted.stdout) or (channel == STDERR and wanted.stderr):
                await stream.send(channel, data)
    await _tell_end(stream, exit_status(await session.exit_code()))


async def _feed(session: ExecSession, stream: FrameStream) -> None:
    """Pass input and sizes to the command until the caller goes away."""
    try:
        async for channel, data in stream:
            if channel == STDIN:
                await (session.end_input() if data is None else session.write(data))
            elif channel == _RESIZE_CHANNEL and data is not None:
                await _resize(session, data)
    except (StreamClosedError, ApiError) as error:
        _LOG.info("the input of a command ended: %s", error)


async def _resize(session: ExecSession, data: bytes) -> None:
    try:
        size = msgspec.json.decode(data, type=_Size)
        if size.width > 0 and size.height > 0:
            await session.resize(size.width, size.height)
    except (msgspec.DecodeError, ContainerError, UnavailableError) as error:
        _LOG.info("a terminal kept its size: %s", error)


async def _until_closed(stream: FrameStream) -> None:
    """Return when the caller is gone; it sends nothing on a stream of logs."""
    try:
        async for _ in stream:
            continue
    except (StreamClosedError, ApiError) as error:
        _LOG.debug("a reader of logs went away: %s", error)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _tell_end(stream: FrameStream, status: Status) -> None:
    await stream.send(_ERROR_CHANNEL, msgspec.json.encode(status))
    await stream.end(_ERROR_CHANNEL)


def exit_status(code: int) -> Status:
    """Return the Status by which kubectl learns a command's exit code (client-go remotecommand v4)."""
    if code == 0:
        return Status(status="Success", code=200)
    return Status(
        message=f"command terminated with non-zero exit code: exit status {code}",
        reason="NonZeroExitCode",
        details=StatusDetails(causes=(Cause(reason="ExitCode", message=str(code)),)),
    )


def _failure(message: str) -> Status:
    return InternalError(message).status()


RequestT = TypeVar("RequestT", node_pb2.LogsRequest, node_pb2.ExecRequest)


def _parse(kind: type[RequestT], data: bytes) -> RequestT:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BadRequestError(f"the request is not a {kind.__name__}") from error
