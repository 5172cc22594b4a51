"""Calls of CRI's services over gRPC, and what their failures mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Final, Generic, TypeVar, cast

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import Message

from orch.errors import UnavailableError
from orch_agent.runtimes.protocol import ContainerError
from orch_pb.cri import api_pb2

_LOG: Final = logging.getLogger(__name__)
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Go's servers refuse the name that a path would be.
    ("grpc.default_authority", "localhost"),
]
_LOST: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_STARTING: Final = "server is not initialized yet"
"""What containerd says, with a code that means nothing, while it begins."""

ResponseT = TypeVar("ResponseT", bound=Message)


class Method(msgspec.Struct, Generic[ResponseT], frozen=True):
    """A call: its path, and what answers it."""

    path: str
    response: type[ResponseT]


def _runtime(name: str, response: type[ResponseT]) -> Method[ResponseT]:
    return Method(f"/runtime.v1.RuntimeService/{name}", response)


def _image(name: str, response: type[ResponseT]) -> Method[ResponseT]:
    return Method(f"/runtime.v1.ImageService/{name}", response)


VERSION: Final = _runtime("Version", api_pb2.VersionResponse)
STATUS: Final = _runtime("Status", api_pb2.StatusResponse)
RUN_POD_SANDBOX: Final = _runtime("RunPodSandbox", api_pb2.RunPodSandboxResponse)
STOP_POD_SANDBOX: Final = _runtime("StopPodSandbox", api_pb2.StopPodSandboxResponse)
REMOVE_POD_SANDBOX: Final = _runtime("RemovePodSandbox", api_pb2.RemovePodSandboxResponse)
LIST_POD_SANDBOX: Final = _runtime("ListPodSandbox", api_pb2.ListPodSandboxResponse)
CREATE_CONTAINER: Final = _runtime("CreateContainer", api_pb2.CreateContainerResponse)
START_CONTAINER: Final = _runtime("StartContainer", api_pb2.StartContainerResponse)
STOP_CONTAINER: Final = _runtime("StopContainer", api_pb2.StopContainerResponse)
REMOVE_CONTAINER: Final = _runtime("RemoveContainer", api_pb2.RemoveContainerResponse)
LIST_CONTAINERS: Final = _runtime("ListContainers", api_pb2.ListContainersResponse)
CONTAINER_STATUS: Final = _runtime("ContainerStatus", api_pb2.ContainerStatusResponse)
REOPEN_CONTAINER_LOG: Final = _runtime("ReopenContainerLog", api_pb2.ReopenContainerLogResponse)
EXEC_SYNC: Final = _runtime("ExecSync", api_pb2.ExecSyncResponse)
EXEC: Final = _runtime("Exec", api_pb2.ExecResponse)
ATTACH: Final = _runtime("Attach", api_pb2.AttachResponse)
LIST_CONTAINER_STATS: Final = _runtime("ListContainerStats", api_pb2.ListContainerStatsResponse)
GET_CONTAINER_EVENTS: Final = _runtime("GetContainerEvents", api_pb2.ContainerEventResponse)
LIST_IMAGES: Final = _image("ListImages", api_pb2.ListImagesResponse)
REMOVE_IMAGE: Final = _image("RemoveImage", api_pb2.RemoveImageResponse)
IMAGE_FS_INFO: Final = _image("ImageFsInfo", api_pb2.ImageFsInfoResponse)
IMAGE_STATUS: Final = _image("ImageStatus", api_pb2.ImageStatusResponse)
PULL_IMAGE: Final = _image("PullImage", api_pb2.PullImageResponse)


class MissingError(ContainerError):
    """What was asked for does not exist."""


class UnsupportedError(ContainerError):
    """The runtime does not know the call: its CRI is older than the call."""


class Connection:
    """A connection to the service at an endpoint. It is made anew by itself whenever the service has gone."""

    def __init__(self, endpoint: str, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(endpoint.replace("unix://", "unix:", 1), options=_OPTIONS)
        self._stubs: dict[str, Any] = {}

    async def close(self) -> None:
        """Close it; calls under way fail."""
        await self._channel.close()

    async def call(self, method: Method[ResponseT], request: Message, *, timeout: float | None = None) -> ResponseT:
        """Make a call. Raises MissingError, UnsupportedError, ContainerError, or UnavailableError."""
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self._channel.unary_unary(
                method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
            )
        try:
            return await cast("Awaitable[ResponseT]", stub(request, timeout=timeout or self._timeout))
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, method.path) from error

    async def finish(self, method: Method[ResponseT], request: Message) -> ResponseT:
        """Make a call that changes something. When cancelled, wait for its end first: half done helps nobody."""
        call = asyncio.ensure_future(self.call(method, request))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            if not call.cancelled() and (error := call.exception()) is not None:
                _LOG.debug("a cancelled call failed: %s", error)
            raise

    async def follow(self, method: Method[ResponseT], request: Message) -> AsyncGenerator[ResponseT]:
        """Yield the answers of a call that goes on until the service ends it."""
        stub: Any = self._channel.unary_stream(
            method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )
        call = stub(request)
        try:
            async for answer in call:
                yield cast("ResponseT", answer)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, method.path) from error
        finally:
            call.cancel()

    def _translated(
        self, error: grpc.aio.AioRpcError, path: str
    ) -> MissingError | UnsupportedError | ContainerError | UnavailableError:
        name, details = path.rpartition("/")[2], error.details() or error.code().name
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return MissingError(details)
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return UnsupportedError(f"{self._endpoint} does not know {name}: {details}")
        if error.code() in _LOST or _STARTING in details:
            return UnavailableError(f"{self._endpoint} does not answer {name}: {details}")
        return ContainerError(details)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
