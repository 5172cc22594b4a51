"""The store in one process's memory: etcd's semantics to the letter, for tests, simulations and single processes."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections.abc import AsyncGenerator, Iterator, Sequence

import msgspec

from orch.clock import Clock, SystemClock
from orch.errors import CompactedError, LeaseLostError, StoreError, UnavailableError
from orch.store.committer import Committer
from orch.store.places import Places, index_of, with_index
from orch.store.protocol import Compare, Event, KeyValue, RangeResult, StoreStatus, WatchBatch, Write, Written

_UNBOUNDED = b"\x00"
"""As the end of a range: all keys from its start on, as in etcd."""

_REPLAY_REVISIONS = 1000
"""Revisions in one batch of a watch that catches up, as in etcd."""


class _Version(msgspec.Struct, frozen=True, gc=False):
    """What one change made of a key. `value` is None for a deletion."""

    key: bytes
    value: bytes | None
    mod_revision: int
    create_revision: int
    lease: int


class _Lease(msgspec.Struct):
    ttl: int
    expires: float
    keys: set[bytes]
    expiry: asyncio.Task[None]


class MemoryStore:
    """A Store in memory. Leases run on `clock`. To be used from one event loop."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._revision = 1
        self._compacted = 0
        self._history: list[_Version] = []
        self._versions: dict[bytes, list[_Version]] = {}
        self._keys: list[bytes] = []
        self._leases: dict[int, _Lease] = {}
        self._last_lease = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._committer = Committer(self._commit)

    async def get(self, key: bytes) -> KeyValue | None:
        """Return the key."""
        self._check_open()
        return self._current(key)

    async def range(self, start: bytes, end: bytes, *, limit: int = 0, revision: int = 0) -> RangeResult:
        """Return keys in [start, end) as of `revision`. Raises CompactedError."""
        self._check_open()
        if revision > self._revision:
            raise StoreError(f"revision {revision} is in the future; the store is at {self._revision}")
        if 0 < revision < self._compacted:
            raise CompactedError(self._compacted + 1)
        items: list[KeyValue] = []
        for key in self._keys_in(start, end):
            item = self._at(key, revision or self._revision)
            if item is not None:
                if limit and len(items) == limit:
                    return RangeResult(items, revision or self._revision, more=True)
                items.append(item)
        return RangeResult(items, revision or self._revision, more=False)

    async def revision(self) -> int:
        """Return the current revision."""
        self._check_open()
        return self._revision

    async def write(self, write: Write) -> Written:
        """Commit one write together with those that come at the same time."""
        return await self._committer.write(write)

    async def write_all(self, writes: Sequence[Write]) -> list[Written]:
        """Commit many writes of different keys; outcomes in order."""
        return await self._committer.write_all(writes)

    async def watch(self, start: bytes, end: bytes, *, revision: int) -> AsyncGenerator[WatchBatch]:
        """Yield changes from `revision` on (0: from now). Raises CompactedError, UnavailableError when closed."""
        self._check_open()
        following = revision or self._revision + 1
        if following <= self._compacted:
            raise CompactedError(self._compacted + 1)
        yield WatchBatch([], following - 1)
        while True:
            if following <= self._compacted:
                raise CompactedError(self._compacted + 1)
            upto = min(self._revision, following + _REPLAY_REVISIONS - 1)
            events = list(self._events(start, end, following, upto))
            following = max(following, upto + 1)
            if events:
                yield WatchBatch(events, events[-1].revision)
            elif following > self._revision:
                await self._changed.wait()
            self._check_open()

    async def compact(self, revision: int) -> None:
        """Forget what is older than `revision`: neither a watch from before it nor a read of then is possible."""
        self._check_open()
        keep = revision - 1
        if keep > self._revision:
            raise StoreError(f"revision {revision} is in the future; the store is at {self._revision}")
        if keep <= self._compacted:
            return
        self._compacted = keep
        del self._history[: self._place(revision)]
        for key, versions in list(self._versions.items()):
            last = bisect.bisect_right(versions, keep, key=_mod_revision) - 1
            if last >= 0:
                del versions[: last if versions[last].value is not None else last + 1]
            if not versions:
                del self._versions[key]
        self._keys = sorted(self._versions)

    async def lease_grant(self, ttl: float) -> int:
        """Return a new lease of `ttl` seconds, rounded up."""
        self._check_open()
        seconds = max(1, math.ceil(ttl))
        self._last_lease += 1
        lease = self._last_lease
        expiry = asyncio.get_running_loop().create_task(self._expire(lease), name=f"lease-{lease}")
        self._leases[lease] = _Lease(seconds, self._clock.monotonic() + seconds, set(), expiry)
        return lease

    async def lease_refresh(self, lease: int) -> None:
        """Extend the lease by its ttl. Raises LeaseLostError."""
        self._check_open()
        held = self._live(lease)
        held.expires = self._clock.monotonic() + held.ttl

    async def lease_revoke(self, lease: int) -> None:
        """End the lease and delete its keys."""
        self._check_open()
        if lease in self._leases:
            self._leases[lease].expiry.cancel()
            self._end(lease)

    async def acquire(self, key: bytes, value: bytes, lease: int) -> KeyValue:
        """Create `key` bound to `lease` if absent; return the key as it is then."""
        self._check_open()
        holder = self._current(key)
        if holder is None:
            self._live(lease)
            self._revision += 1
            self._apply(key, value, lease)
            holder = self._current(key)
            self._announce()
        if holder is None:
            raise StoreError(f"the key {key!r} vanished while it was acquired")
        return holder

    async def status(self) -> StoreStatus:
        """Return the size of what is kept, and the revision."""
        self._check_open()
        size = sum(len(each.key) + len(each.value or b"") for each in self._history)
        return StoreStatus("memory", size, self._revision)

    async def snapshot(self) -> AsyncGenerator[bytes]:
        """Yield the current keys, one line of JSON each, after a line with the revision."""
        self._check_open()
        revision = self._revision
        yield msgspec.json.encode({"revision": revision}) + b"\n"
        for key in list(self._keys):
            item = self._at(key, revision)
            if item is not None:
                yield msgspec.json.encode(item) + b"\n"

    async def close(self) -> None:
        """End watches and leases; what waits fails with UnavailableError."""
        if self._closed:
            return
        self._closed = True
        await self._committer.close()
        expiries = [lease.expiry for lease in self._leases.values()]
        for expiry in expiries:
            expiry.cancel()
        await asyncio.gather(*expiries, return_exceptions=True)
        self._announce()

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the store is closed")

    async def _commit(self, writes: Sequence[Write]) -> list[Written]:
        """Apply a batch as etcd applies a transaction: every compare is judged before anything is written."""
        for write in writes:
            if not write.key:
                raise StoreError("a key must not be empty")
        fenced = [write.fence is not None and not self._holds(write.fence) for write in writes]
        found = [self._current(write.key) for write in writes]
        places = Places()
        outcomes: list[Written] = []
        revision = self._revision + 1
        for place, (write, lost, current) in enumerate(zip(writes, fenced, found, strict=True)):
            matches = write.expected is None or write.expected == (current.mod_revision if current else 0)
            if lost or not matches:
                outcomes.append(Written(False, 0, current=None if lost else current, fenced=lost))
            elif write.value is not None:
                self._revision = revision
                self._apply(write.key, with_index(write.value, place), 0)
                outcomes.append(Written(True, 0, places.put(revision, place)))
            elif current is not None:
                self._revision = revision
                self._apply(write.key, None, 0)
                outcomes.append(Written(True, 0, places.deletion(revision)))
            else:
                outcomes.append(Written(True, 0))
        self._announce()
        return [msgspec.structs.replace(outcome, revision=self._revision) for outcome in outcomes]

    def _holds(self, fence: Compare) -> bool:
        current = self._current(fence.key)
        return current is not None and current.create_revision == fence.create_revision

    def _apply(self, key: bytes, value: bytes | None, lease: int) -> None:
        """Record a change of `key` at the current revision; the lease that held the key lets it go."""
        versions = self._versions.get(key)
        if versions is None:
            versions = self._versions[key] = []
            bisect.insort(self._keys, key)
        before = versions[-1] if versions and versions[-1].value is not None else None
        if before is not None and before.lease in self._leases:
            self._leases[before.lease].keys.discard(key)
        if lease:
            self._leases[lease].keys.add(key)
        created = before.create_revision if before is not None else self._revision
        version = _Version(key, value, self._revision, created, lease)
        versions.append(version)
        self._history.append(version)

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _current(self, key: bytes) -> KeyValue | None:
        versions = self._versions.get(key)
        return _key_value(versions[-1]) if versions else None

    def _at(self, key: bytes, revision: int) -> KeyValue | None:
        versions = self._versions[key]
        if versions[-1].mod_revision <= revision:
            return _key_value(versions[-1])
        place = bisect.bisect_right(versions, revision, key=_mod_revision) - 1
        return _key_value(versions[place]) if place >= 0 else None

    def _keys_in(self, start: bytes, end: bytes) -> Sequence[bytes]:
        first = bisect.bisect_left(self._keys, start)
        last = len(self._keys) if end == _UNBOUNDED else bisect.bisect_left(self._keys, end)
        return self._keys[first:last]

    def _place(self, revision: int) -> int:
        return bisect.bisect_left(self._history, revision, key=_mod_revision)

    def _events(self, start: bytes, end: bytes, first: int, last: int) -> Iterator[Event]:
        places = Places()
        for place in range(self._place(first), self._place(last + 1)):
            change = self._history[place]
            if not start <= change.key or (end != _UNBOUNDED and change.key >= end):
                continue
            revision = change.mod_revision
            if change.value is None:
                yield Event(change.key, None, revision, places.deletion(revision))
            else:
                index = places.put(revision, index_of(change.value))
                yield Event(change.key, change.value, revision, index, created=revision == change.create_revision)

    def _live(self, lease: int) -> _Lease:
        held = self._leases.get(lease)
        if held is None or held.expires <= self._clock.monotonic():
            raise LeaseLostError(f"the lease {lease} has expired or was revoked")
        return held

    async def _expire(self, lease: int) -> None:
        """End the lease when its time has come; refreshing moves that time."""
        while (left := self._leases[lease].expires - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self._end(lease)

    def _end(self, lease: int) -> None:
        keys = sorted(self._leases.pop(lease).keys)
        if keys:
            self._revision += 1
            for key in keys:
                self._apply(key, None, 0)
            self._announce()


def _mod_revision(version: _Version) -> int:
    return version.mod_revision


def _key_value(version: _Version) -> KeyValue | None:
    if version.value is None:
        return None
    return KeyValue(version.key, version.value, version.mod_revision, version.create_revision, version.lease)
