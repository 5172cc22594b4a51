"""Connections to an etcd cluster: which member is asked, what we prove, and when a request is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import Message
from prometheus_client import Counter, Histogram

from orch.errors import CompactedError, ConfigError, LeaseLostError, OrchError, StoreError, UnavailableError
from orch_pb.etcd import rpc_pb2

REQUEST_SECONDS = Histogram(
    "etcd_request_duration_seconds",
    "Time of one attempt of a request to etcd, by operation and resource.",
    ["operation", "type"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RETRIES = Counter("orch_store_retries_total", "Requests to etcd that were tried again.", ["operation"])

FIRST_BACKOFF = 0.02
LAST_BACKOFF = 1.0

_PROBE_SECONDS = 0.1
_RETIRE_SECONDS = 30.0
_REQUIRE_LEADER = (("hasleader", "true"),)
"""Makes an etcd member that is cut off from its leader end a watch instead of keeping it silently stale."""

_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""etcd's definite refusals: nothing was changed, and asking again will not help."""

_UNSENT: Final = "failed to connect to all addresses"
"""How grpc tells of a call that it has sent to nobody."""
_USERS_CHANGED = ("revision of auth store is old", "user name is empty")
"""What etcd says when its users, or whether it has any, were changed between a request's arrival and its turn."""

ResponseT = TypeVar("ResponseT", bound=Message)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
ValueT = TypeVar("ValueT")


class Method(msgspec.Struct, Generic[ResponseT], frozen=True):
    """One of etcd's calls, and what it answers."""

    path: str
    response: type[ResponseT]


STATUS = Method("/etcdserverpb.Maintenance/Status", rpc_pb2.StatusResponse)


class _NotDoneError(UnavailableError):
    """Nothing was changed, and the very same request may succeed at once."""


class Stream(Protocol[AnswerT_co]):
    """What is used of grpc.aio's stream calls. `read` returns grpc.aio.EOF at the end."""

    async def write(self, request: Message) -> None:
        """Send one message."""
        ...

    async def done_writing(self) -> None:
        """Say that no more is sent."""
        ...

    async def read(self) -> AnswerT_co | object:
        """Return the next message, grpc.aio.EOF after the last."""
        ...

    def cancel(self) -> bool:
        """End the call."""
        ...


class Endpoint:
    """One member of the cluster and the connection to it."""

    def __init__(self, url: str, proof: _Proof | None, options: Sequence[tuple[str, Any]]) -> None:
        self.url = url
        self._proof = proof
        self._options = options
        self._stubs: dict[str, Any] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._shown = proof.stamp() if proof is not None else ()
        self.channel = self._open()

    def is_ready(self) -> bool:
        """Say whether the connection stands; if not, see to it that it is tried."""
        if self.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            return True
        # A channel shows for ever what it was made with, and certificates are replaced before they end.
        if self._proof is not None and (stamp := self._proof.stamp()) != self._shown:
            with contextlib.suppress(ConfigError):  # half of the files: the next look finds all of them
                opened = self._open()
                self._retire(self.channel)
                self.channel, self._shown = opened, stamp
                self._stubs.clear()
        return False

    def _open(self) -> grpc.aio.Channel:
        target = urlsplit(self.url).netloc
        if self._proof is None:
            return grpc.aio.insecure_channel(target, options=self._options)
        return grpc.aio.secure_channel(target, self._proof.credentials(), options=self._options)

    def _retire(self, channel: grpc.aio.Channel) -> None:
        """Close a channel once its calls have ended by themselves."""
        task = asyncio.get_running_loop().create_task(channel.close(_RETIRE_SECONDS), name="etcd channel")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Close the connection."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self.channel.close()

    async def problem(self) -> str:
        """Return why the connection does not stand: grpc tells only a call that fails on it."""
        try:
            await self.ask(STATUS, rpc_pb2.StatusRequest(), _PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name
        return "it was not ready"

    async def ask(self, method: Method[ResponseT], request: Message, timeout: float) -> ResponseT:
        """Make a unary call."""
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self.channel.unary_unary(
                method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
            )
        return await cast("Awaitable[ResponseT]", stub(request, timeout=timeout))

    def stream(self, method: Method[ResponseT], *, timeout: float | None) -> Stream[ResponseT]:
        """Open a stream in both directions."""
        stub: Any = self.channel.stream_stream(
            method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )
        return cast("Stream[ResponseT]", stub(timeout=timeout, metadata=_REQUIRE_LEADER))

    def answers(self, method: Method[ResponseT], request: Message, *, timeout: float) -> Stream[ResponseT]:
        """Ask for a stream of answers."""
        stub: Any = self.channel.unary_stream(
            method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )
        return cast("Stream[ResponseT]", stub(request, timeout=timeout))


class Cluster:
    """The endpoints, of which one is used until it fails; then the next that answers. Make one with `connect`."""

    def __init__(self, endpoints: Sequence[Endpoint], request_timeout: float) -> None:
        self._endpoints = list(endpoints)
        self._current = 0
        self._request_timeout = request_timeout
        # With others to turn to, one that hangs may not use up all of the time.
        self._attempt_timeout = request_timeout if len(self._endpoints) == 1 else request_timeout / 2
        self.closed = False

    async def ready(self, timeout: float) -> Endpoint:
        """Return an endpoint whose connection stands. Raises UnavailableError when none does within `timeout`."""
        deadline = time.monotonic() + timeout
        backoff = FIRST_BACKOFF
        while not self.closed:
            for _ in self._endpoints:
                endpoint = self._endpoints[self._current]
                if endpoint.is_ready():
                    return endpoint
                self.leave(endpoint)
            if time.monotonic() >= deadline:
                urls = ", ".join(endpoint.url for endpoint in self._endpoints)
                problem = await self._endpoints[self._current].problem()
                raise UnavailableError(f"etcd at {urls} could not be reached in time: {problem}")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 1.5, 0.1)
        raise UnavailableError("the store is closed")

    def leave(self, endpoint: Endpoint) -> None:
        """Turn to the next endpoint if `endpoint` is the current one."""
        if self._endpoints[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    async def call(
        self,
        method: Method[ResponseT],
        request: Message,
        operation: str,
        kind: str = "",
        *,
        repeat: bool = True,
        timeout: float = 0,
    ) -> ResponseT:
        """Make a unary call; when `repeat`, as often as `timeout` (0: the request timeout) allows."""
        return await self.attempt(
            lambda each, left: each.ask(method, request, left), operation, kind, repeat=repeat, timeout=timeout
        )

    async def attempt(
        self,
        request: Callable[[Endpoint, float], Awaitable[ValueT]],
        operation: str,
        kind: str = "",
        *,
        repeat: bool = True,
        timeout: float = 0,
    ) -> ValueT:
        """Run `request(endpoint, timeout)`; after UnavailableError again, elsewhere, while there is time."""
        deadline = time.monotonic() + (timeout or self._request_timeout)
        backoff = FIRST_BACKOFF
        while True:
            endpoint = await self.ready(deadline - time.monotonic())
            started = time.monotonic()
            left = max(min(deadline - started, self._attempt_timeout), 0.001)
            try:
                with self.errors():
                    return await request(endpoint, left)
            except UnavailableError as error:
                self.leave(endpoint)
                undone = isinstance(error, _NotDoneError)
                if not (repeat or undone) or self.closed or time.monotonic() + backoff >= deadline:
                    raise
            finally:
                REQUEST_SECONDS.labels(operation, kind).observe(time.monotonic() - started)
            RETRIES.labels(operation).inc()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

    @contextlib.contextmanager
    def errors(self) -> Generator[None]:
        """Raise grpc's errors as ours."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        except asyncio.CancelledError:
            # Closing a channel cancels its calls, which grpc.aio tells those who wait by the same exception.
            task = asyncio.current_task()
            if self.closed and (task is None or not task.cancelling()):
                raise UnavailableError("the store was closed") from None
            raise

    async def close(self) -> None:
        """End all connections; pending calls fail with UnavailableError."""
        self.closed = True
        for endpoint in self._endpoints:
            await endpoint.close()


async def connect(
    endpoints: Sequence[str],
    *,
    ca: str | Path = "",
    cert: str | Path = "",
    key: str | Path = "",
    dial_timeout: float = 5,
    request_timeout: float = 5,
) -> Cluster:
    """Return the cluster at `endpoints` (URLs), once one of them answers; see EtcdStore.connect."""
    proof = _Proof(ca, cert, key) if any(map(_is_tls, endpoints)) else None
    options = _options(dial_timeout)
    members = [Endpoint(url, proof if _is_tls(url) else None, options) for url in endpoints]
    if not members:
        raise ConfigError("endpoints", "must name at least one endpoint")
    cluster = Cluster(members, request_timeout)
    try:
        # A server that wants a client certificate says so only when it is asked something.
        await cluster.call(STATUS, rpc_pb2.StatusRequest(), "connect", timeout=dial_timeout)
    except BaseException:
        await cluster.close()
        raise
    return cluster


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _translated(error: grpc.aio.AioRpcError) -> OrchError:
    """Return our error for grpc's. What is not a definite refusal may succeed later, and may have been done."""
    details = error.details() or error.code().name
    if _UNSENT in details or any(said in details for said in _USERS_CHANGED):
        return _NotDoneError(f"etcd: {details}")
    if error.code() not in _REFUSALS or "too many requests" in details:
        return UnavailableError(f"etcd: {details}")
    if "compacted" in details:
        return CompactedError(0)
    if "lease not found" in details:
        return LeaseLostError("the lease has expired or was revoked")
    return StoreError(f"etcd refused the request: {details}")


def _is_tls(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
        raise ConfigError("endpoints", f"{url!r} is not of the form https://HOST:PORT or http://HOST:PORT")
    return parts.scheme == "https"


class _Proof:
    """The files that say whom to trust and who we are. They may be replaced at any time."""

    def __init__(self, ca: str | Path, cert: str | Path, key: str | Path) -> None:
        if bool(cert) != bool(key):
            raise ConfigError("cert_file", "must be set together with key_file")
        self._files = {"ca_file": ca, "key_file": key, "cert_file": cert}

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what is in the files now. Raises ConfigError."""
        return grpc.ssl_channel_credentials(*(_content(name, path) for name, path in self._files.items()))

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when a file does."""
        return tuple(_changed(Path(path)) for path in self._files.values() if path)


def _content(name: str, path: str | Path) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise ConfigError(name, f"cannot read {path}: {error.strerror}") from error


def _changed(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def _options(dial_timeout: float) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # etcd ends connections that are pinged more often than every 5 s.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", max(int(dial_timeout * 1000), 100)),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
