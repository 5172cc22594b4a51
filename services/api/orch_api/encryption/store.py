"""A store in which some values are sealed: what is written is sealed first, and what is read opened.

Everything above it sees plain values, so nothing there can forget to seal one. Keys that are not sealed cost one
comparison of their beginning.

A value that cannot be opened is handed on as it is; whoever reads objects refuses it by its key id, so that one such
value makes neither lists nor the cache fail. When keys come that may open it, watches end, and are begun again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.errors import OrchError, StoreError, UnavailableError
from orch.store.protocol import Event, KeyValue, RangeResult, Store, StoreStatus, WatchBatch, Write, Written
from orch_api.encryption.vault import Vault
from orch_pb.v1.object_pb2 import StoredObject

log = logging.getLogger(__name__)

UNOPENED = Counter("orch_encryption_unopened", "Values of the store that no key of the configuration opened")

_FOREIGN = "?"
"""The key id of plain values where plain ones are not to be read."""


class SealedStore:
    """A Store over another one."""

    def __init__(self, inner: Store, vault: Vault) -> None:
        self._inner = inner
        self._vault = vault
        self._unopened = 0

    async def get(self, key: bytes) -> KeyValue | None:
        """Return the key, opened."""
        found = await self._inner.get(key)
        return None if found is None else await self._opened(found)

    async def range(self, start: bytes, end: bytes, *, limit: int = 0, revision: int = 0) -> RangeResult:
        """Return keys, opened. Raises CompactedError."""
        found = await self._inner.range(start, end, limit=limit, revision=revision)
        prefixes = self._vault.prefixes
        if not any(item.key.startswith(prefixes) for item in found.items):
            return found
        return RangeResult([await self._opened(item) for item in found.items], found.revision, found.more)

    async def revision(self) -> int:
        """Return the current revision."""
        return await self._inner.revision()

    async def write(self, write: Write) -> Written:
        """Commit one write, sealed."""
        if not write.key.startswith(self._vault.prefixes):
            return await self._inner.write(write)
        return await self._outcome(await self._inner.write(await self._sealed(write)))

    async def write_all(self, writes: Sequence[Write]) -> list[Written]:
        """Commit many writes, sealed."""
        prefixes = self._vault.prefixes
        if not any(write.key.startswith(prefixes) for write in writes):
            return await self._inner.write_all(writes)
        outcomes = await self._inner.write_all([await self._sealed(write) for write in writes])
        return [await self._outcome(outcome) for outcome in outcomes]

    async def watch(self, start: bytes, end: bytes, *, revision: int) -> AsyncGenerator[WatchBatch]:
        """Yield changes, opened. Raises CompactedError, and UnavailableError when more may be opened by now."""
        generation = self._vault.generation
        async with aclosing(self._inner.watch(start, end, revision=revision)) as batches:
            async for batch in batches:
                if generation != self._vault.generation:
                    if self._unopened:
                        self._unopened = 0
                        raise UnavailableError("there are other keys by now: what was not opened is to be read again")
                    generation = self._vault.generation
                prefixes = self._vault.prefixes
                if any(event.key.startswith(prefixes) for event in batch.events):
                    events = [await self._opened_event(event) for event in batch.events]
                    yield WatchBatch(events, batch.revision)
                else:
                    yield batch

    async def compact(self, revision: int) -> None:
        """Forget what is older than `revision`."""
        await self._inner.compact(revision)

    async def lease_grant(self, ttl: float) -> int:
        """Return a new lease."""
        return await self._inner.lease_grant(ttl)

    async def lease_refresh(self, lease: int) -> None:
        """Extend the lease."""
        await self._inner.lease_refresh(lease)

    async def lease_revoke(self, lease: int) -> None:
        """End the lease."""
        await self._inner.lease_revoke(lease)

    async def acquire(self, key: bytes, value: bytes, lease: int) -> KeyValue:
        """Create a leader's key, which is never sealed."""
        return await self._inner.acquire(key, value, lease)

    async def status(self) -> StoreStatus:
        """Return what the store says of itself."""
        return await self._inner.status()

    def snapshot(self) -> AsyncGenerator[bytes]:
        """Yield a backup, in which everything stays sealed."""
        return self._inner.snapshot()

    async def close(self) -> None:
        """Close the store below."""
        await self._inner.close()

    async def _sealed(self, write: Write) -> Write:
        if write.value is None or not write.key.startswith(self._vault.prefixes):
            return write
        return msgspec.structs.replace(write, value=await self._vault.seal(write.key, write.value))

    async def _outcome(self, written: Written) -> Written:
        if written.current is None:
            return written
        return msgspec.structs.replace(written, current=await self._opened(written.current))

    async def _opened(self, item: KeyValue) -> KeyValue:
        if not item.key.startswith(self._vault.prefixes):
            return item
        return msgspec.structs.replace(item, value=await self._value(item.key, item.value))

    async def _opened_event(self, event: Event) -> Event:
        if event.value is None or not event.key.startswith(self._vault.prefixes):
            return event
        try:
            value = await self._value(event.key, event.value)
        except UnavailableError as error:
            value = self._left(event.value, error)
        return msgspec.structs.replace(event, value=value)

    async def _value(self, key: bytes, value: bytes) -> bytes:
        try:
            return await self._vault.open(key, value)
        except StoreError as error:
            return self._left(value, error)

    def _left(self, value: bytes, error: OrchError) -> bytes:
        """Return what is handed on in place of a value that is not opened."""
        UNOPENED.inc()
        self._unopened += 1
        log.error("a value of the store cannot be opened: %s", error)
        return _marked(value)


def _marked(value: bytes) -> bytes:
    """Return a value that nobody takes for a plain one."""
    try:
        sealed = bool(StoredObject.FromString(value).key_id)
    except DecodeError:
        return value
    return value if sealed else value + StoredObject(key_id=_FOREIGN).SerializeToString()
