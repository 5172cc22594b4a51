"""The store on etcd, over grpc.aio with our own part of etcd's v3 API."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from orch.errors import CompactedError, LeaseLostError, UnavailableError
from orch.store import etcd_connection, keys
from orch.store.committer import Committer
from orch.store.etcd_connection import FIRST_BACKOFF, LAST_BACKOFF, RETRIES, STATUS, Cluster, Endpoint, Method, Stream
from orch.store.places import Places, index_of
from orch.store.protocol import Event, KeyValue, RangeResult, StoreStatus, WatchBatch, Write, Written
from orch.store.shared_read import SharedRead
from orch.store.transactions import acquire_request, batch_request, key_value, outcomes
from orch_pb.etcd import rpc_pb2

_PAGE = 5000
"""Keys in one answer: keeps answers far from what could stall etcd or outlive a deadline."""
_COMPANY = 0.0005
"""Seconds that a read of the revision waits for others when one has just ended: reads are dearer than waiting."""
_SNAPSHOT_SECONDS = 600.0

ResponseT = TypeVar("ResponseT", bound=Message)

_RANGE = Method("/etcdserverpb.KV/Range", rpc_pb2.RangeResponse)
_TXN = Method("/etcdserverpb.KV/Txn", rpc_pb2.TxnResponse)
_COMPACT = Method("/etcdserverpb.KV/Compact", rpc_pb2.CompactionResponse)
_LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", rpc_pb2.LeaseGrantResponse)
_LEASE_REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", rpc_pb2.LeaseRevokeResponse)
_LEASE_KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", rpc_pb2.LeaseKeepAliveResponse)
_WATCH = Method("/etcdserverpb.Watch/Watch", rpc_pb2.WatchResponse)
_SNAPSHOT = Method("/etcdserverpb.Maintenance/Snapshot", rpc_pb2.SnapshotResponse)


class EtcdStore:
    """A Store on an etcd cluster. Make one with `connect`."""

    def __init__(self, cluster: Cluster, request_timeout: float) -> None:
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
        cluster = await etcd_connection.connect(
            endpoints, ca=ca, cert=cert, key=key, dial_timeout=dial_timeout, request_timeout=request_timeout
        )
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
        backoff = FIRST_BACKOFF
        while True:
            try:
                async with contextlib.aclosing(self._watch_once(start, end, following)) as batches:
                    async for batch in batches:
                        following = batch.revision + 1
                        stands = True
                        backoff = FIRST_BACKOFF
                        yield batch
            except UnavailableError:
                if self._cluster.closed or (not stands and time.monotonic() >= deadline):
                    raise
            RETRIES.labels("watch").inc()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

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

        async def refresh(endpoint: Endpoint, timeout: float) -> int:
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
        response = await self._cluster.call(STATUS, rpc_pb2.StatusRequest(), "status")
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
        # Nobody writes this key: the answer is a header alone, after a linearizable read.
        request = rpc_pb2.RangeRequest(key=keys.REVISION, count_only=True)
        return (await self._cluster.call(_RANGE, request, "revision")).header.revision

    async def _read(
        self, call: Stream[ResponseT], request: Message | None = None, *, bounded: bool = True
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
