"""The store on etcd, over grpc.aio with our own part of etcd's v3 API."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import Message
from prometheus_client import Counter, Histogram

from orch.errors import CompactedError, ConfigError, LeaseLostError, OrchError, StoreError, UnavailableError
from orch.store import keys
from orch.store.committer import Committer
from orch.store.places import Places, index_of
from orch.store.protocol import Event, KeyValue, RangeResult, StoreStatus, WatchBatch, Write, Written
from orch.store.shared_read import SharedRead
from orch.store.transactions import acquire_request, batch_request, key_value, outcomes
from orch_pb.etcd import rpc_pb2

REQUEST_SECONDS = Histogram(
    "etcd_request_duration_seconds",
    "Time of one attempt of a request to etcd, by operation and resource.",
    ["operation", "type"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RETRIES = Counter("orch_store_retries_total", "Requests to etcd that were tried again.", ["operation"])

_PAGE = 5000
_COMPANY = 0.0005
"""Seconds that a read of the revision waits for others when one has just ended: reads are dearer than waiting."""
"""Keys in one answer: keeps answers far from what could stall etcd or outlive a deadline."""

_FIRST_BACKOFF = 0.02
_LAST_BACKOFF = 1.0

_PROBE_SECONDS = 0.1
_RETIRE_SECONDS = 30.0
_SNAPSHOT_SECONDS = 600.0
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

ResponseT = TypeVar("ResponseT", bound=Message)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
ValueT = TypeVar("ValueT")


class _Method(msgspec.Struct, Generic[ResponseT], frozen=True):
    path: str
    response: type[ResponseT]


_RANGE = _Method("/etcdserverpb.KV/Range", rpc_pb2.RangeResponse)
_TXN = _Method("/etcdserverpb.KV/Txn", rpc_pb2.TxnResponse)
_COMPACT = _Method("/etcdserverpb.KV/Compact", rpc_pb2.CompactionResponse)
_LEASE_GRANT = _Method("/etcdserverpb.Lease/LeaseGrant", rpc_pb2.LeaseGrantResponse)
_LEASE_REVOKE = _Method("/etcdserverpb.Lease/LeaseRevoke", rpc_pb2.LeaseRevokeResponse)
_LEASE_KEEP_ALIVE = _Method("/etcdserverpb.Lease/LeaseKeepAlive", rpc_pb2.LeaseKeepAliveResponse)
_WATCH = _Method("/etcdserverpb.Watch/Watch", rpc_pb2.WatchResponse)
_STATUS = _Method("/etcdserverpb.Maintenance/Status", rpc_pb2.StatusResponse)
_SNAPSHOT = _Method("/etcdserverpb.Maintenance/Snapshot", rpc_pb2.SnapshotResponse)


class _Stream(Protocol[AnswerT_co]):
    """What is used of grpc.aio's stream calls. `read` returns grpc.aio.EOF at the end."""

    async def write(self, request: Message) -> None: ...

    async def done_writing(self) -> None: ...

    async def read(self) -> AnswerT_co | object: ...

    def cancel(self) -> bool: ...


class _Endpoint:
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
            await self.ask(_STATUS, rpc_pb2.StatusRequest(), _PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name
        return "it was not ready"

    async def ask(self, method: _Method[ResponseT], request: Message, timeout: float) -> ResponseT:
        """Make a unary call."""
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self.channel.unary_unary(
                method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
            )
        return await cast("Awaitable[ResponseT]", stub(request, timeout=timeout))

    def stream(self, method: _Method[ResponseT], *, timeout: float | None) -> _Stream[ResponseT]:
        """Open a stream in both directions."""
        stub: Any = self.channel.stream_stream(
            method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )
        return cast("_Stream[ResponseT]", stub(timeout=timeout, metadata=_REQUIRE_LEADER))

    def answers(self, method: _Method[ResponseT], request: Message, *, timeout: float) -> _Stream[ResponseT]:
        """Ask for a stream of answers."""
        stub: Any = self.channel.unary_stream(
            method.path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )
        return cast("_Stream[ResponseT]", stub(request, timeout=timeout))


class _Cluster:
    """The endpoints, of which one is used until it fails; then the next that answers."""

    def __init__(self, endpoints: Sequence[_Endpoint], request_timeout: float) -> None:
        self._endpoints = list(endpoints)
        self._current = 0
        self._request_timeout = request_timeout
        # With others to turn to, one that hangs may not use up all of the time.
        self._attempt_timeout = request_timeout if len(self._endpoints) == 1 else request_timeout / 2
        self.closed = False

    async def ready(self, timeout: float) -> _Endpoint:
        """Return an endpoint whose connection stands. Raises UnavailableError when none does within `timeout`."""
        deadline = time.monotonic() + timeout
        backoff = _FIRST_BACKOFF
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

    def leave(self, endpoint: _Endpoint) -> None:
        """Turn to the next endpoint if `endpoint` is the current one."""
        if self._endpoints[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    async def call(
        self,
        method: _Method[ResponseT],
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
        request: Callable[[_Endpoint, float], Awaitable[ValueT]],
        operation: str,
        kind: str = "",
        *,
        repeat: bool = True,
        timeout: float = 0,
    ) -> ValueT:
        """Run `request(endpoint, timeout)`; after UnavailableError again, elsewhere, while there is time."""
        deadline = time.monotonic() + (timeout or self._request_timeout)
        backoff = _FIRST_BACKOFF
        while True:
            endpoint = await self.ready(deadline - time.monotonic())
            started = time.monotonic()
            left = max(min(deadline - started, self._attempt_timeout), 0.001)
            try:
                with self.errors():
                    return await request(endpoint, left)
            except UnavailableError:
                self.leave(endpoint)
                if not repeat or self.closed or time.monotonic() + backoff >= deadline:
                    raise
            finally:
                REQUEST_SECONDS.labels(operation, kind).observe(time.monotonic() - started)
            RETRIES.labels(operation).inc()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)

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
        self.closed = True
        for endpoint in self._endpoints:
            await endpoint.close()


class EtcdStore:
    """A Store on an etcd cluster. Make one with `connect`."""

    def __init__(self, cluster: _Cluster, request_timeout: float) -> None:
        self._cluster = cluster
        self._request_timeout = request_timeout
        self._committer = Committer(self._commit, patience=request_timeout)
        self._revision = SharedRead(self._read_revision, pause=_COMPANY)

    @classmethod
    async def connect(
        cls,
        *,
        endpoints: Sequence[str],
        ca: str | Path = "",
        cert: str | Path = "",
        key: str | Path = "",
        dial_timeout: float = 5,
        request_timeout: float = 5,
    ) -> EtcdStore:
        """Return the store at `endpoints` (URLs), once one of them answers.

        `ca`, `cert` and `key` name PEM files for https: whom to trust (empty: the system's authorities) and the
        client's identity. Raises ConfigError, or UnavailableError after `dial_timeout` seconds.
        """
        proof = _Proof(ca, cert, key) if any(map(_is_tls, endpoints)) else None
        options = _options(dial_timeout)
        members = [_Endpoint(url, proof if _is_tls(url) else None, options) for url in endpoints]
        if not members:
            raise ConfigError("endpoints", "must name at least one endpoint")
        cluster = _Cluster(members, request_timeout)
        try:
            # A server that wants a client certificate says so only when it is asked something.
            await cluster.call(_STATUS, rpc_pb2.StatusRequest(), "connect", timeout=dial_timeout)
        except BaseException:
            await cluster.close()
            raise
        return cls(cluster, request_timeout)

    async def get(self, key: bytes) -> KeyValue | None:
        """Return the key, read linearizably."""
        kind = keys.resource_of(key)
        response = await self._cluster.call(_RANGE, rpc_pb2.RangeRequest(key=key), "get", kind)
        return key_value(response.kvs[0]) if response.kvs else None

    async def range(self, start: bytes, end: bytes, *, limit: int = 0, revision: int = 0) -> RangeResult:
        """Return keys in [start, end), read in pages that are all of one revision. Raises CompactedError."""
        items: list[KeyValue] = []
        kind = keys.resource_of(start)
        while True:
            page = min(limit - len(items), _PAGE) if limit else _PAGE
            request = rpc_pb2.RangeRequest(key=start, range_end=end, limit=page, revision=revision)
            response = await self._cluster.call(_RANGE, request, "list", kind)
            revision = revision or response.header.revision
            items.extend(map(key_value, response.kvs))
            if not response.more or len(items) == limit:
                return RangeResult(items, revision, response.more)
            start = items[-1].key + b"\x00"

    async def revision(self) -> int:
        """Return the current revision, read linearizably in a round trip that concurrent calls share."""
        return await self._revision.get()

    async def write(self, write: Write) -> Written:
        """Commit one write together with those that come at the same time."""
        return await self._committer.write(write)

    async def write_all(self, writes: Sequence[Write]) -> list[Written]:
        """Commit many writes of different keys; outcomes in order."""
        return await self._committer.write_all(writes)

    async def watch(self, start: bytes, end: bytes, *, revision: int) -> AsyncGenerator[WatchBatch]:
        """Yield changes from `revision` on (0: from now), for ever, across reconnects.

        Raises CompactedError; UnavailableError when it could not be established within the request timeout.
        """
        following = revision
        stands = False
        deadline = time.monotonic() + self._request_timeout
        backoff = _FIRST_BACKOFF
        while True:
            try:
                async with contextlib.aclosing(self._watch_once(start, end, following)) as batches:
                    async for batch in batches:
                        following = batch.revision + 1
                        stands = True
                        backoff = _FIRST_BACKOFF
                        yield batch
            except UnavailableError:
                if self._cluster.closed or (not stands and time.monotonic() >= deadline):
                    raise
            RETRIES.labels("watch").inc()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)

    async def compact(self, revision: int) -> None:
        """Forget what is older than `revision`. Compacting twice is no error."""
        if revision <= 1:
            return
        # etcd drops a deletion made at the very revision it compacts to: the one before keeps all of `revision`.
        try:
            await self._cluster.call(_COMPACT, rpc_pb2.CompactionRequest(revision=revision - 1), "compact")
        except CompactedError:
            return

    async def lease_grant(self, ttl: float) -> int:
        """Return a new lease of `ttl` seconds, rounded up; etcd may give more."""
        request = rpc_pb2.LeaseGrantRequest(TTL=max(1, math.ceil(ttl)))
        return (await self._cluster.call(_LEASE_GRANT, request, "lease_grant")).ID

    async def lease_refresh(self, lease: int) -> None:
        """Extend the lease by its ttl. Raises LeaseLostError."""

        async def refresh(endpoint: _Endpoint, timeout: float) -> int:
            call = endpoint.stream(_LEASE_KEEP_ALIVE, timeout=timeout)
            try:
                await call.write(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
                await call.done_writing()
                response = await call.read()
            finally:
                call.cancel()
            if not isinstance(response, rpc_pb2.LeaseKeepAliveResponse):
                raise UnavailableError("etcd ended the stream of lease refreshes without an answer")
            return response.TTL

        if await self._cluster.attempt(refresh, "lease_refresh") <= 0:
            raise LeaseLostError(f"the lease {lease} has expired or was revoked")

    async def lease_revoke(self, lease: int) -> None:
        """End the lease and delete its keys. A lease that is gone is no error."""
        try:
            await self._cluster.call(_LEASE_REVOKE, rpc_pb2.LeaseRevokeRequest(ID=lease), "lease_revoke")
        except LeaseLostError:
            return

    async def acquire(self, key: bytes, value: bytes, lease: int) -> KeyValue:
        """Create `key` bound to `lease` if absent; return the key as it is then. Raises LeaseLostError."""
        response = await self._cluster.call(_TXN, acquire_request(key, value, lease), "acquire")
        if response.succeeded:
            revision = response.header.revision
            return KeyValue(key, value, revision, revision, lease)
        return key_value(response.responses[0].response_range.kvs[0])

    async def status(self) -> StoreStatus:
        """Return what the member in use says of itself."""
        response = await self._cluster.call(_STATUS, rpc_pb2.StatusRequest(), "status")
        return StoreStatus(response.version, response.dbSize, response.header.revision)

    async def snapshot(self) -> AsyncGenerator[bytes]:
        """Yield etcd's database file in pieces, its checksum last: what `etcdctl snapshot restore` takes."""
        endpoint = await self._cluster.ready(self._request_timeout)
        call = endpoint.answers(_SNAPSHOT, rpc_pb2.SnapshotRequest(), timeout=_SNAPSHOT_SECONDS)
        try:
            while isinstance(piece := await self._read(call), rpc_pb2.SnapshotResponse):
                yield piece.blob
        finally:
            call.cancel()

    async def close(self) -> None:
        """Release connections; pending calls fail with UnavailableError."""
        self._cluster.closed = True
        await self._committer.close()
        await self._revision.close()
        await self._cluster.close()

    async def _commit(self, writes: Sequence[Write]) -> list[Written]:
        kind = keys.resource_of(writes[0].key)
        response = await self._cluster.call(_TXN, batch_request(writes), "commit", kind, repeat=False)
        return outcomes(writes, response)

    async def _read_revision(self) -> int:
        # No key is empty-but-one: the answer is a header alone, after a linearizable read.
        request = rpc_pb2.RangeRequest(key=b"\x00", count_only=True)
        return (await self._cluster.call(_RANGE, request, "revision")).header.revision

    async def _read(
        self, call: _Stream[ResponseT], request: Message | None = None, *, bounded: bool = True
    ) -> ResponseT | object:
        """Send `request`, if any, and read from a stream; when `bounded`, within the request timeout."""
        try:
            with self._cluster.errors():
                async with asyncio.timeout(self._request_timeout if bounded else None):
                    if request is not None:
                        await call.write(request)
                    return await call.read()
        except TimeoutError as error:
            raise UnavailableError(f"etcd did not answer within {self._request_timeout:g} s") from error

    async def _watch_once(self, start: bytes, end: bytes, following: int) -> AsyncGenerator[WatchBatch]:
        """Yield an empty batch once the watch stands, then changes until the connection fails.

        The watch is asked for from one revision earlier, whose changes are dropped: etcd before 3.5.18 lets a watch
        begin at the very revision it compacted to, although deletions made there are lost.
        """
        endpoint = await self._cluster.ready(self._request_timeout)
        call = endpoint.stream(_WATCH, timeout=None)
        create = rpc_pb2.WatchCreateRequest(
            key=start, range_end=end, start_revision=max(following - 1, min(following, 1)), progress_notify=True
        )
        try:
            created = _checked(await self._read(call, rpc_pb2.WatchRequest(create_request=create)))
            following = following or created.header.revision + 1
            yield WatchBatch([], following - 1)
            while True:
                response = _checked(await self._read(call, bounded=False))
                if events := _events(response, following):
                    following = events[-1].revision + 1
                    yield WatchBatch(events, following - 1)
                elif not response.events and response.header.revision >= following:
                    following = response.header.revision + 1
                    yield WatchBatch([], following - 1)
        except UnavailableError:
            self._cluster.leave(endpoint)
            raise
        finally:
            call.cancel()


def _checked(response: rpc_pb2.WatchResponse | object) -> rpc_pb2.WatchResponse:
    """Return the response unless it ends the watch."""
    if not isinstance(response, rpc_pb2.WatchResponse):
        raise UnavailableError("etcd ended the watch")
    if response.compact_revision:
        raise CompactedError(response.compact_revision + 1)
    if response.canceled:
        raise UnavailableError(f"etcd cancelled the watch: {response.cancel_reason or 'it gave no reason'}")
    return response


def _events(response: rpc_pb2.WatchResponse, following: int) -> list[Event]:
    """Return the changes from revision `following` on; etcd keeps the changes of a revision in one response."""
    places = Places()
    events: list[Event] = []
    for event in response.events:
        found = event.kv
        revision = found.mod_revision
        if revision < following:
            continue
        if event.type == rpc_pb2.Event.DELETE:
            events.append(Event(found.key, None, revision, places.deletion(revision)))
        else:
            value = found.value
            index = places.put(revision, index_of(value))
            events.append(Event(found.key, value, revision, index, created=found.create_revision == revision))
    return events


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _translated(error: grpc.aio.AioRpcError) -> OrchError:
    """Return our error for grpc's. What is not a definite refusal may succeed later, and may have been done."""
    details = error.details() or error.code().name
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
