"""What may be asked of a node about its pods: logs, commands, a container's own terminal, connections to ports.

Frames are as in proto/node.proto. What is asked about the node itself is in queries.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
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
from orch_agent.network.connections import Connection, DialError
from orch_agent.network.sandbox import Sandbox
from orch_agent.pods.assignments import Assignments
from orch_agent.pods.host import PodHost
from orch_agent.pods.worker import PodWorker
from orch_agent.runtimes.protocol import (
    STDERR,
    STDIN,
    STDOUT,
    ContainerError,
    ContainerInfo,
    ExecSpec,
    LogQuery,
    Session,
    State,
)
from orch_pb.v1 import node_pb2

_LOG: Final = logging.getLogger(__name__)
_DATA_CHANNEL: Final = 0
_LOG_CHANNEL: Final = 1
_ERROR_CHANNEL: Final = 3
_RESIZE_CHANNEL: Final = 4
_CONNECTIONS: Final = 1024
"""Connections to pods' ports that may be open at a time."""


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
            await serve_streams(self._bus, subject("attach"), self._attach, check=self._check_attach),
            await serve_streams(
                self._bus, subject("portforward"), self._forward, check=self._check_forward, limit=_CONNECTIONS
            ),
        ]

    # -- logs ----------------------------------------------------------------------------------------------------

    async def _check_logs(self, request: bytes) -> None:
        self._find_logs(_parse(node_pb2.LogsRequest, request))

    async def _logs(self, request: bytes, stream: FrameStream) -> None:
        wanted = _parse(node_pb2.LogsRequest, request)
        worker, info = self._find_logs(wanted)
        if info.state is State.EXITED and info.started_at is None:
            # It could not be started, and is gone: there is nothing that it could have written.
            await stream.end(_LOG_CHANNEL)
            return
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

    # -- exec and attach -----------------------------------------------------------------------------------------

    async def _check_exec(self, request: bytes) -> None:
        wanted = _parse(node_pb2.ExecRequest, request)
        if not wanted.command:
            raise BadRequestError("you must specify at least 1 command for the container")
        self._find_running(wanted)

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

        async def end() -> Status:
            try:
                return exit_status(await session.exit_code())
            except ContainerError as error:  # some runtimes find out only now that there is no such command
                return _failure(f"error executing command in container: {error}")

        await _converse(session, stream, wanted, end)

    async def _check_attach(self, request: bytes) -> None:
        self._find_running(_parse(node_pb2.AttachRequest, request))

    async def _attach(self, request: bytes, stream: FrameStream) -> None:
        wanted = _parse(node_pb2.AttachRequest, request)
        worker, info = self._find_running(wanted)
        try:
            session = await worker.host.runtime.attach(info.id, stdin=wanted.stdin)
        except ContainerError as error:
            await _tell_end(stream, _failure(f"error attaching to container: {error}"))
            return
        except UnavailableError as error:
            raise ServiceUnavailableError(str(error)) from error

        async def end() -> Status:
            return exit_status(0)  # how the container itself ended is in the pod's status

        await _converse(session, stream, wanted, end)

    def _find_running(self, wanted: node_pb2.ExecRequest | node_pb2.AttachRequest) -> tuple[PodWorker, ContainerInfo]:
        worker, container = self._find(wanted.namespace, wanted.pod, wanted.uid, wanted.container)
        info = worker.container(container)
        if info is None or info.state is not State.RUNNING:
            raise BadRequestError(f'container not found ("{container}")')
        return worker, info

    # -- connections ---------------------------------------------------------------------------------------------

    async def _check_forward(self, request: bytes) -> None:
        self._find_sandbox(_parse(node_pb2.PortForwardRequest, request))

    async def _forward(self, request: bytes, stream: FrameStream) -> None:
        wanted = _parse(node_pb2.PortForwardRequest, request)
        worker, sandbox = self._find_sandbox(wanted)
        try:
            connection = await worker.host.sandboxes.dial(sandbox, wanted.port, own_address=wanted.own_address)
        except DialError as error:
            where = f'failed to connect to localhost:{wanted.port} inside namespace "{wanted.uid}", '
            raise ServiceUnavailableError(str(error) if wanted.own_address else f"{where}{error}") from error
        try:
            await _relay(connection, stream)
        finally:
            await connection.close()

    def _find_sandbox(self, wanted: node_pb2.PortForwardRequest) -> tuple[PodWorker, Sandbox]:
        worker = self._worker(wanted.namespace, wanted.pod, wanted.uid)
        if worker.sandbox is None:
            raise BadRequestError(f"network namespace for pod {wanted.pod} is closed")
        return worker, worker.sandbox

    def _worker(self, namespace: str, name: str, uid: str) -> PodWorker:
        worker = self._assignments.worker(uid) if uid else self._assignments.worker_named(namespace, name)
        if worker is None:
            raise NotFoundError.of("pods", "", name)
        return worker

    def _find(self, namespace: str, name: str, uid: str, container: str) -> tuple[PodWorker, str]:
        worker = self._worker(namespace, name, uid)
        spec = worker.pod.spec
        names = [each.name for each in (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)]
        container = container or names[0]
        if container not in names:
            raise BadRequestError(f"container {container} is not valid for pod {name}")
        return worker, container


async def _converse(
    session: Session,
    stream: FrameStream,
    wanted: node_pb2.ExecRequest | node_pb2.AttachRequest,
    end: Callable[[], Awaitable[Status]],
) -> None:
    """Pass input and output on until the output ends, then say how; or until the caller goes away."""
    feeding = asyncio.ensure_future(_feed(session, stream))
    showing = asyncio.ensure_future(_show(session, stream, wanted))
    leaving = asyncio.ensure_future(stream.wait_over())  # a command that takes no input must not hide it
    try:
        await asyncio.wait((feeding, showing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
            await _tell_end(stream, await end())
        else:
            # Without its input a well-behaved command ends by itself.
            _LOG.info("the caller of a command in pod %s/%s went away", wanted.namespace, wanted.pod)
    finally:
        await _cancel(feeding, showing, leaving)
        await session.close()


async def _show(session: Session, stream: FrameStream, wanted: node_pb2.ExecRequest | node_pb2.AttachRequest) -> None:
    """Pass on what is written, as far as the caller wants it."""
    async with aclosing(session.output()) as output:
        async for channel, data in output:
            if (channel == STDOUT and wanted.stdout) or (channel == STDERR and wanted.stderr):
                await stream.send(channel, data)


async def _relay(connection: Connection, stream: FrameStream) -> None:
    """Copy both ways until both have ended or the caller has left.

    A pod that breaks its connection has ended it: whoever is forwarded sees that, as it would have without us.
    """
    caller_ended = asyncio.Event()

    async def inward() -> None:
        try:
            async for _, data in stream:
                try:
                    await (connection.end() if data is None else connection.write(data))
                except DialError as error:
                    _LOG.debug("a pod takes nothing more: %s", error)
                    caller_ended.set()
                if data is None:
                    caller_ended.set()
        except (StreamClosedError, ApiError) as error:
            _LOG.debug("the caller of a connection went away: %s", error)

    async def outward() -> None:
        try:
            while data := await connection.read():
                await stream.send(_DATA_CHANNEL, data)
        except DialError as error:
            _LOG.debug("a pod broke a connection: %s", error)
        await stream.end(_DATA_CHANNEL)
        await caller_ended.wait()

    directions = asyncio.ensure_future(inward()), asyncio.ensure_future(outward())
    try:
        done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in done:
            direction.result()
    finally:
        await _cancel(*directions)


async def _feed(session: Session, stream: FrameStream) -> None:
    """Pass input and sizes to the command until the caller goes away."""
    try:
        async for channel, data in stream:
            if channel == STDIN:
                await (session.end_input() if data is None else session.write(data))
            elif channel == _RESIZE_CHANNEL and data is not None:
                await _resize(session, data)
    except (StreamClosedError, ApiError) as error:
        _LOG.info("the input of a command ended: %s", error)


async def _resize(session: Session, data: bytes) -> None:
    try:
        newest = data.strip().rpartition(b"\n")[2]  # over SPDY several may have come together
        size = msgspec.json.decode(newest, type=_Size)
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


RequestT = TypeVar(
    "RequestT", node_pb2.LogsRequest, node_pb2.ExecRequest, node_pb2.AttachRequest, node_pb2.PortForwardRequest
)


def _parse(kind: type[RequestT], data: bytes) -> RequestT:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BadRequestError(f"the request is not a {kind.__name__}") from error
