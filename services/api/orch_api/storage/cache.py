"""The watch cache: every object as bytes, fed by one watch of the store, one a process.

It answers reads, feeds watches and the relay. A read is consistent when it first waits for the store's current
revision (`catch_up`): the one watch covers all keys, so every revision arrives here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from sys import intern
from typing import Final, Literal

from prometheus_client import Counter, Gauge

from orch import errors
from orch.clock import Clock, SystemClock
from orch.errors import Cause, CompactedError, OrchError, StatusDetails, StoreError, UnavailableError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.protocol import Event, Store, WatchBatch, last_version, split_version, version_of
from orch_api.storage.history import MAX_AGE, CacheEvent, History, Subscription
from orch_api.storage.objects import Cached, StateReader, deleted_state

__all__ = ["CacheEvent", "Cached", "ObjectCache", "Subscription"]

log = logging.getLogger(__name__)

OBJECTS: Final = Gauge("apiserver_storage_objects", "Objects in the store by resource", ("resource",))
UNREADABLE: Final = Counter("orch_cache_unreadable", "Stored values that are no objects and were left out")
RESTARTS: Final = Counter("orch_cache_restarts", "Times that the cache had to list the store anew")

_EVERYTHING: Final = (b"/orch/", b"/orch0")
_PAGE: Final = 1000
_UPKEEP_PERIOD: Final = 30.0
_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0


class _Shelf:
    """The objects of one resource, by namespace and name."""

    __slots__ = ("_all", "_ordered", "changed", "followers", "history", "namespaces", "observers")

    def __init__(self, version: int) -> None:
        self.namespaces: dict[str, dict[str, Cached]] = {}
        self.history = History(version)
        self.followers: dict[str, list[Subscription]] = {}
        self.observers: tuple[Callable[[CacheEvent], None], ...] = ()
        self.changed = version
        self._ordered: dict[str, tuple[Cached, ...]] = {}
        self._all: tuple[Cached, ...] | None = None

    def get(self, namespace: str, name: str) -> Cached | None:
        space = self.namespaces.get(namespace)
        return None if space is None else space.get(name)

    def put(self, item: Cached) -> None:
        namespace = item.key.namespace
        space = self.namespaces.get(namespace)
        if space is None:
            space = self.namespaces[namespace] = {}
        space[item.key.name] = item
        self._touch(namespace, item.version)

    def remove(self, item: Cached) -> None:
        namespace = item.key.namespace
        space = self.namespaces[namespace]
        del space[item.key.name]
        if not space:
            del self.namespaces[namespace]
        self._touch(namespace, item.version)

    def _touch(self, namespace: str, version: int) -> None:
        self._ordered.pop(namespace, None)
        self._all = None
        self.changed = max(self.changed, version)

    def items(self) -> Iterator[Cached]:
        return itertools.chain.from_iterable(space.values() for space in self.namespaces.values())

    def count(self) -> int:
        return sum(map(len, self.namespaces.values()))

    def select(self, namespace: str) -> tuple[Cached, ...]:
        if namespace:
            return self._in_order(namespace)
        if self._all is None:
            # "/" sorts after "-" and ".", so this is the order of the store's keys, which pages rely on
            spaces = sorted(self.namespaces, key=lambda space: f"{space}/")
            self._all = tuple(itertools.chain.from_iterable(map(self._in_order, spaces)))
        return self._all

    def _in_order(self, namespace: str) -> tuple[Cached, ...]:
        ordered = self._ordered.get(namespace)
        if ordered is None:
            space = self.namespaces.get(namespace)
            if space is None:
                return ()
            # kept in order, so that the next sort meets a nearly sorted list
            self.namespaces[namespace] = space = {name: space[name] for name in sorted(space)}
            ordered = self._ordered[namespace] = tuple(space.values())
        return ordered


class ObjectCache:
    """All objects of the store. `run` keeps it current; everything else is read in the same event loop."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._reader = StateReader()
        self._shelves: dict[tuple[str, str], _Shelf] = {}
        self._pods_by_node: dict[str, dict[ObjectKey, Cached]] = {}
        self._claims: dict[tuple[str, str], set[str]] = {}
        self._taps: list[Subscription] = []
        self._observers: dict[tuple[str, str], tuple[Callable[[CacheEvent], None], ...]] = {}
        self._revision = 0
        self._started_at = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._ready = asyncio.Event()

    # Reading ----------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The version that covers everything that arrived so far."""
        return last_version(self._revision)

    @property
    def ready(self) -> bool:
        """Whether the first snapshot is complete and the watch stands."""
        return self._ready.is_set()

    async def wait_ready(self, timeout: float = 30) -> None:
        """Wait for the first snapshot. Raises UnavailableError when it does not come in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._ready.wait()
        except TimeoutError as error:
            raise UnavailableError("the cache did not read the store in time") from error

    async def catch_up(self, timeout: float = 5) -> int:
        """Wait until all that was committed before this call is here; return the version that a list carries.

        Raises UnavailableError when the store cannot be reached, TimeoutError (504) when the watch lags.
        """
        revision = await self._store.revision()
        if revision > self._revision and not await self._reach(revision, timeout):
            raise errors.TimeoutError("Timeout: the watch cache lags behind the store", StatusDetails())
        return self.version

    async def wait_for(self, version: int, timeout: float = 3) -> int:
        """Wait until the cache is not older than `version`. Raises TimeoutError (504) when it stays older."""
        revision, _ = split_version(version)
        if revision > self._revision and not await self._reach(revision, timeout):
            message = f"Too large resource version: {version}, current: {self.version}"
            causes = (Cause("ResourceVersionTooLarge", "Too large resource version"),)
            raise errors.TimeoutError(f"Timeout: {message}", StatusDetails(causes=causes, retry_after_seconds=1))
        return self.version

    def get(self, key: ObjectKey) -> Cached | None:
        """Return an object's state."""
        shelf = self._shelves.get((key.group, key.resource))
        return None if shelf is None else shelf.get(key.namespace, key.name)

    def select(self, group: str, resource: str, namespace: str = "") -> Sequence[Cached]:
        """Return a resource's objects, of one namespace or ("") of all, in the order of the store's keys."""
        shelf = self._shelves.get((group, resource))
        return () if shelf is None else shelf.select(namespace)

    def count(self, group: str, resource: str, namespace: str = "") -> int:
        """Return how many objects of a resource there are, in one namespace or ("") in all."""
        shelf = self._shelves.get((group, resource))
        if shelf is None:
            return 0
        return len(shelf.namespaces.get(namespace, ())) if namespace else shelf.count()

    def changed(self, group: str, resource: str) -> int:
        """Return the version of the resource's last change; lists of any later version equal the current one."""
        shelf = self._shelves.get((group, resource))
        return self._started_at if shelf is None else shelf.changed

    def pods_of(self, node: str) -> Collection[Cached]:
        """Return the pods that are bound to a node."""
        return self._pods_by_node.get(node, {}).values()

    def claims(self, group: str, resource: str) -> AbstractSet[str]:
        """Return what the resource's objects hold of their shared pool, as far as it arrived."""
        return self._claims.get((group, resource), frozenset[str]())

    def everything(self) -> Iterator[Cached]:
        """Yield every object; the cache must not change meanwhile, so do not await in between."""
        return itertools.chain.from_iterable(shelf.items() for shelf in self._shelves.values())

    # Following --------------------------------------------------------------------------------------------------

    def subscribe(self, group: str, resource: str, namespace: str = "", *, since: int | None) -> Subscription:
        """Follow a resource's changes after the version `since`, None: from now on.

        Raises ExpiredError when `since` is older than the history that is kept.
        """
        shelf = self._shelf(group, resource)
        backlog: Sequence[CacheEvent] = () if since is None else shelf.history.since(since)
        if namespace:
            backlog = [event for event in backlog if event.item.key.namespace == namespace]
        followers = shelf.followers.setdefault(namespace, [])

        def leave(subscription: Subscription) -> None:
            followers.remove(subscription)
            if not followers:
                shelf.followers.pop(namespace, None)

        subscription = Subscription(lambda: self.version, leave, backlog)
        followers.append(subscription)
        return subscription

    def tap(self, limit: int) -> Subscription:
        """Follow every change of every resource from now on; at most `limit` may wait to be read."""
        subscription = Subscription(lambda: self.version, self._taps.remove, limit=limit)
        self._taps.append(subscription)
        return subscription

    def observe(self, group: str, resource: str, observer: Callable[[CacheEvent], None]) -> None:
        """Have every change of a resource told at once, the first snapshot's included; it must not raise.

        For indexes that have to be exactly as old as the cache; whoever may lag subscribes.
        """
        observers = self._observers[group, resource] = (*self._observers.get((group, resource), ()), observer)
        shelf = self._shelves.get((group, resource))
        if shelf is not None:
            shelf.observers = observers

    # Being fed --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read the store and follow it, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._upkeep())
            await self._follow()

    async def _follow(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                revision = await self._snapshot()
                start, end = keys.EVERYTHING
                async with aclosing(self._store.watch(start, end, revision=revision + 1)) as batches:
                    async for batch in batches:
                        self._apply(batch)
                        self._ready.set()
                        backoff = _FIRST_BACKOFF
            except CompactedError as error:
                log.warning("the cache fell behind the store's compaction and lists it anew: %s", error)
            except OrchError as error:
                log.warning("the cache cannot follow the store, next try in %.1f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            RESTARTS.inc()

    async def _snapshot(self) -> int:
        """Read the whole store at one revision and report the differences as changes."""
        start, end = _EVERYTHING
        seen: set[ObjectKey] = set()
        claims: dict[tuple[str, str], set[str]] = {}
        events: list[CacheEvent] = []
        revision = 0
        now = self._clock.monotonic()
        more = True
        while more:
            page = await self._store.range(start, end, limit=_PAGE, revision=revision)
            revision = revision or page.revision
            for item in page.items:
                key = keys.parse_object_key(item.key)
                if key is None:
                    _note_claim(claims, item.key, taken=True)
                    continue
                seen.add(key)
                known = self.get(key)
                if known is None or known.revision != item.mod_revision:
                    state = self._read(_interned(key), item.value, item.mod_revision)
                    if state is not None:
                        events.append(CacheEvent("ADDED" if known is None else "MODIFIED", state, known, now))
            more = page.more
            if page.items:
                start = page.items[-1].key + b"\x00"
        events.sort(key=lambda event: event.item.version)
        gone = [known for known in self.everything() if known.key not in seen]
        last = last_version(revision)
        events += [CacheEvent("DELETED", deleted_state(known, last), known, now) for known in gone]
        first = not self._started_at
        self._started_at = self._started_at or last_version(revision)
        self._claims = claims
        for event in events:
            self._place(event, record=not first)
        self._advance(revision)
        return revision

    def _apply(self, batch: WatchBatch) -> None:
        now = self._clock.monotonic()
        for event in batch.events:
            key = keys.parse_object_key(event.key)
            if key is None:
                _note_claim(self._claims, event.key, taken=event.value is not None)
                continue
            change = self._change(key, event, now)
            if change is not None:
                self._place(change)
        self._advance(batch.revision)

    def _change(self, key: ObjectKey, event: Event, now: float) -> CacheEvent | None:
        known = self.get(key)
        if event.value is None:
            if known is None:
                return None
            gone = deleted_state(known, version_of(event.revision, event.index))
            return CacheEvent("DELETED", gone, known, now)
        state = self._read(_interned(key) if known is None else known.key, event.value, event.revision)
        if state is None:
            return None
        kind: Literal["ADDED", "MODIFIED"] = "ADDED" if known is None else "MODIFIED"
        return CacheEvent(kind, state, known, now)

    def _read(self, key: ObjectKey, value: bytes, revision: int) -> Cached | None:
        try:
            return self._reader.read(key, value, revision)
        except StoreError as error:
            UNREADABLE.inc()
            log.error("the cache leaves out what it cannot read: %s", error)
            return None

    def _place(self, event: CacheEvent, *, record: bool = True) -> None:
        item, previous = event.item, event.previous
        shelf = self._shelf(item.key.group, item.key.resource)
        if previous is not None and previous.node and (item.deleted or item.node != previous.node):
            self._unbind(previous)
        if item.deleted:
            shelf.remove(item)
        else:
            shelf.put(item)
            if item.node:
                self._pods_by_node.setdefault(item.node, {})[item.key] = item
        for observer in shelf.observers:
            observer(event)
        if not record:
            return
        shelf.history.add(event)
        for namespace in {"", item.key.namespace}:
            for follower in shelf.followers.get(namespace, ()):
                follower.add(event)
                follower.wake()
        for tap in self._taps:
            tap.add(event)
            tap.wake()

    def _unbind(self, pod: Cached) -> None:
        pods = self._pods_by_node[pod.node]
        del pods[pod.key]
        if not pods:
            del self._pods_by_node[pod.node]

    def _shelf(self, group: str, resource: str) -> _Shelf:
        shelf = self._shelves.get((group, resource))
        if shelf is None:
            shelf = self._shelves[group, resource] = _Shelf(self._started_at)
            shelf.observers = self._observers.get((group, resource), ())
        return shelf

    def _advance(self, revision: int) -> None:
        self._revision = max(self._revision, revision)
        while self._waiters and self._waiters[0][0] <= self._revision:
            _, _, waiter = heapq.heappop(self._waiters)
            if not waiter.done():
                waiter.set_result(None)

    async def _reach(self, revision: int, timeout: float) -> bool:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._order), waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        return True

    async def _upkeep(self) -> None:
        while True:
            await self._clock.sleep(_UPKEEP_PERIOD)
            oldest = self._clock.monotonic() - MAX_AGE
            for (group, resource), shelf in self._shelves.items():
                shelf.history.drop_before(oldest)
                OBJECTS.labels(f"{resource}.{group}" if group else resource).set(shelf.count())


def _interned(key: ObjectKey) -> ObjectKey:
    """Return the key with the texts that many objects share held once."""
    return ObjectKey(intern(key.group), intern(key.resource), intern(key.namespace), key.name)


def _note_claim(claims: dict[tuple[str, str], set[str]], key: bytes, *, taken: bool) -> None:
    claim = keys.parse_claim_key(key)
    if claim is None:
        return
    group, resource, name = claim
    held = claims.setdefault((group, resource), set())
    if taken:
        held.add(name)
    else:
        held.discard(name)
