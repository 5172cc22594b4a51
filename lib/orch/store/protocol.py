"""What orch needs of a store. `etcd.py` is the real one, `memory.py` its twin; one contract suite runs over both."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec

MAX_OPERATIONS = 128
"""Operations in one transaction; etcd's default --max-txn-ops."""

INDEX_BITS = 10
"""resourceVersion = mod_revision << INDEX_BITS | index: places within a transaction stay apart."""

_INDEX_MASK = (1 << INDEX_BITS) - 1


def version_of(revision: int, index: int) -> int:
    """Return the resourceVersion of the write at place `index` of the transaction that made `revision`."""
    return revision << INDEX_BITS | index


def last_version(revision: int) -> int:
    """Return the resourceVersion that covers all of `revision`: for lists and bookmarks."""
    return revision << INDEX_BITS | _INDEX_MASK


def split_version(version: int) -> tuple[int, int]:
    """Return (revision, index) of a resourceVersion."""
    return version >> INDEX_BITS, version & _INDEX_MASK


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key's value at one revision."""

    key: bytes
    value: bytes
    mod_revision: int
    create_revision: int
    lease: int = 0


class RangeResult(msgspec.Struct, frozen=True):
    """Keys in order, read at `revision` (the store's, not the keys')."""

    items: list[KeyValue]
    revision: int
    more: bool


class Compare(msgspec.Struct, frozen=True, gc=False):
    """A condition on a key other than the one that is written: it exists with this create revision."""

    key: bytes
    create_revision: int


class Write(msgspec.Struct, frozen=True, gc=False):
    """A compare-and-swap of one key.

    `expected` is the key's mod_revision, 0 for "does not exist"; None writes in any case. `value` is the encoded
    StoredObject without its index field, None to delete. `fence` must hold as well.
    """

    key: bytes
    value: bytes | None
    expected: int | None
    fence: Compare | None = None


class Written(msgspec.Struct, frozen=True, gc=False):
    """A write's outcome.

    When `succeeded`, `revision` and `index` name the resourceVersion. Otherwise `current` is the key as it is (None:
    absent), or `fenced` says that the fence no longer held and nothing else was looked at.
    """

    succeeded: bool
    revision: int
    index: int = 0
    current: KeyValue | None = None
    fenced: bool = False


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change of a key. `value` is None for a deletion. `index` is its place among its revision's, as `Written`'s."""

    key: bytes
    value: bytes | None
    revision: int
    index: int
    created: bool = False


class WatchBatch(msgspec.Struct, frozen=True):
    """Changes in order; all of a revision's changes are in one batch. `revision` is reached when they are applied."""

    events: list[Event]
    revision: int


class StoreStatus(msgspec.Struct, frozen=True):
    """What the store says of itself. `size` in bytes."""

    version: str
    size: int
    revision: int


class Store(Protocol):
    """A revisioned key-value store.

    Every method raises UnavailableError when the store cannot be reached within the store's request timeout
    (5 s by default); calls are safe to repeat except `write`, whose outcome is then unknown.
    """

    async def get(self, key: bytes) -> KeyValue | None:
        """Return the key, read linearizably."""
        ...

    async def range(self, start: bytes, end: bytes, *, limit: int = 0, revision: int = 0) -> RangeResult:
        """Return keys in [start, end), at most `limit` (0: all), as of `revision` (0: now).

        Raises CompactedError when `revision` is gone.
        """
        ...

    async def revision(self) -> int:
        """Return the current revision, read linearizably. Concurrent calls share one round trip."""
        ...

    async def write(self, write: Write) -> Written:
        """Commit one write. Concurrent calls share transactions; each succeeds or fails alone."""
        ...

    async def write_all(self, writes: Sequence[Write]) -> list[Written]:
        """Commit many writes, each succeeding or failing alone; outcomes in order. Keys must differ."""
        ...

    def watch(self, start: bytes, end: bytes, *, revision: int) -> AsyncGenerator[WatchBatch]:
        """Yield the changes of keys in [start, end) from `revision` on, for ever, across reconnects.

        The first batch, empty, says that the watch stands. An empty batch may come at any time to report progress.
        Raises CompactedError.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget what is older than `revision`. Compacting twice is no error."""
        ...

    async def lease_grant(self, ttl: float) -> int:
        """Return a new lease that lives `ttl` seconds (at least 1; etcd rounds up)."""
        ...

    async def lease_refresh(self, lease: int) -> None:
        """Extend the lease by its ttl. Raises LeaseLostError when it is gone."""
        ...

    async def lease_revoke(self, lease: int) -> None:
        """End the lease and delete its keys. A lease that is gone is no error."""
        ...

    async def acquire(self, key: bytes, value: bytes, lease: int) -> KeyValue:
        """Create `key` bound to `lease` if it does not exist; return the key as it is then, ours or another's."""
        ...

    async def status(self) -> StoreStatus:
        """Return the store's version, size and revision."""
        ...

    def snapshot(self) -> AsyncGenerator[bytes]:
        """Yield a backup of the whole store in pieces."""
        ...

    async def close(self) -> None:
        """Release connections; pending calls fail with UnavailableError."""
        ...
