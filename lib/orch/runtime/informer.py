"""A local, current copy of all objects of a kind, kept from the bus, and the changes to it.

An informer needs nothing but the stream: the newest event of each object first, then what follows. It takes an event
only when its revision is newer than what it holds, so repeated and reordered delivery does no harm.

A snapshot is complete when the relay's marker of progress has come with it: a stream that was lost is rebuilt from the
store, and until that is done its snapshot lacks what is still there. When the bus starts over with a new snapshot, what
that has not confirmed once it is complete is gone, and delivered as a deletion.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge

from orch.bus.protocol import Bus, Message, Signal
from orch.bus.subjects import OBJECTS, objects_of
from orch.errors import UnavailableError
from orch.objects.meta import Object
from orch.objects.scheme import Kind
from orch.telemetry import TraceContext
from orch_pb.v1 import object_pb2

T = TypeVar("T", bound=Object)

_LOG: Final = logging.getLogger(__name__)
_UNUSABLE: Final = Counter("orch_informer_unusable_events", "Events that were left out.", ["resource", "reason"])
_RESTARTS: Final = Counter(
    "orch_informer_restarts", "Times that following the bus failed and was begun anew.", ["resource"]
)
_FAILED_HANDLERS: Final = Counter("orch_informer_handler_errors", "Exceptions of handlers and indexers.", ["resource"])
_OBJECTS: Final = Gauge("orch_informer_objects", "Objects held.", ["resource"])

_DELETED: Final = object_pb2.ChangeType.DELETED
_PROGRESS: Final = object_pb2.ChangeType.PROGRESS
_EVENTS_PER_TURN: Final = 256
"""After so many events other tasks get their turn, even when more are waiting."""
_TOMBSTONES: Final = 8192
_FIRST_DELAY: Final = 0.1
_LAST_DELAY: Final = 5.0


class Item(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """An object as an informer holds it. `trace` is that of the request which made it so.

    `json` is the whole document; empty when the informer keeps none.
    """

    namespace: str
    name: str
    uid: str
    revision: int
    labels: Mapping[str, str]
    trace: TraceContext | None
    json: bytes
    object: T


class Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """What happened to an object: added (no `old`), changed, or deleted (no `new`).

    An object that was deleted and made again under the same name is two changes. `trace` is that of the request that
    caused it.
    """

    old: Item[T] | None
    new: Item[T] | None
    trace: TraceContext | None = None

    @property
    def item(self) -> Item[T]:
        """The object as it is, or was last."""
        item = self.new or self.old
        assert item is not None, "a change is about an object"  # noqa: S101 - the constructor's contract
        return item


Handler = Callable[[Change[T]], None]
Indexer = Callable[[Item[T]], Iterable[str]]
_Name = tuple[str, str]


class Informer(Generic[T]):
    """Holds the objects of one kind. Reads are of memory and never wait; what they return does not change."""

    def __init__(
        self,
        bus: Bus,
        kind: Kind[T],
        *,
        stream: str = OBJECTS.name,
        subject: str = "",
        indexers: Mapping[str, Indexer[T]] | None = None,
        documents: bool = True,
        keep: Callable[[T], T] | None = None,
    ) -> None:
        self.kind = kind
        self._keep = keep
        self._documents = documents
        self._bus = bus
        self._stream = stream
        self._subject = subject or objects_of(kind.group, kind.resource)
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind.view)
        self._items: dict[_Name, Item[T]] = {}
        self._namespaces: dict[str, dict[str, Item[T]]] = {}
        self._indexers: dict[str, Indexer[T]] = dict(indexers or {})
        self._indexes: dict[str, dict[str, dict[_Name, Item[T]]]] = {name: {} for name in self._indexers}
        self._handlers: list[Handler[T]] = []
        self._tombstones: dict[_Name, int] = {}
        self._unconfirmed: set[_Name] = set()
        self._live = False
        self._marked = False
        self._seen = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._synced = asyncio.Event()
        self._revision = 0
        self._objects_metric = _OBJECTS.labels(kind.resource)

    @property
    def synced(self) -> bool:
        """Whether a whole snapshot has been taken."""
        return self._synced.is_set()

    @property
    def revision(self) -> int:
        """The version up to which every change has been seen; 0 before the first complete snapshot.

        The relay sends changes in the order of their versions, and markers of progress when other kinds change: who
        knows the version of a write can wait for it here.
        """
        return self._revision

    async def wait_seen(self, version: int, timeout: float = 30) -> None:
        """Wait until every change up to `version` has been seen. Raises UnavailableError after `timeout` seconds."""
        if self._revision >= version:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((version, waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.kind.resource} were not seen up to {version} within {timeout:g} s"
            ) from error
        finally:
            self._waiters = [each for each in self._waiters if each[1] is not waiter]

    async def wait_synced(self, timeout: float = 30) -> None:
        """Wait until a whole snapshot has been taken. Raises UnavailableError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._synced.wait()
        except TimeoutError as error:
            raise UnavailableError(f"no snapshot of {self.kind.resource} came within {timeout:g} s") from error

    def get(self, namespace: str, name: str) -> Item[T] | None:
        """Return the object, None when there is none."""
        return self._items.get((namespace, name))

    def items(self, namespace: str = "") -> list[Item[T]]:
        """Return the objects of a namespace, or ("") all."""
        if not namespace:
            return list(self._items.values())
        return list(self._namespaces.get(namespace, {}).values())

    def indexed(self, index: str, value: str) -> list[Item[T]]:
        """Return the objects for which the indexer `index` yields `value`."""
        return list(self._indexes[index].get(value, {}).values())

    def add_index(self, name: str, indexer: Indexer[T]) -> None:
        """Keep an index of that name. Raises ValueError when another indexer has the name."""
        if self._indexers.get(name) is indexer:
            return
        if name in self._indexers:
            raise ValueError(f"{self.kind.resource} already has an index {name!r}")
        self._indexers[name] = indexer
        self._indexes[name] = {}
        for item in self._items.values():
            self._index(name, None, item)

    def on_change(self, handler: Handler[T], *, known: bool = True) -> Callable[[], None]:
        """Call `handler` for every change, in order, as it is taken; return what ends that.

        Objects that are `known` already are delivered at once, as additions, unless they are not wanted. A handler must
        not wait. When one raises, that is logged and counted; the informer and the other handlers go on.
        """
        self._handlers.append(handler)
        for item in list(self._items.values()) if known else ():
            self._call(handler, Change(None, item, item.trace))
        return lambda: self._handlers.remove(handler)

    async def run(self) -> None:
        """Follow the bus for ever."""
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY
        while True:
            begun = loop.time()
            try:
                await self._follow()
            except UnavailableError as error:
                _LOG.warning("following %s failed: %s", self.kind.resource, error)
            _RESTARTS.labels(self.kind.resource).inc()
            delay = _FIRST_DELAY if loop.time() - begun > 2 * _LAST_DELAY else min(delay * 2, _LAST_DELAY)
            await asyncio.sleep(delay)

    async def _follow(self) -> None:
        taken = 0
        async with aclosing(self._bus.follow(self._stream, [self._subject])) as messages:
            async for message in messages:
                if isinstance(message, Message):
                    self._take(message)
                elif message is Signal.RESET:
                    self._begin_snapshot()
                else:
                    self._finish_snapshot()
                taken += 1
                if taken % _EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)

    def _begin_snapshot(self) -> None:
        self._unconfirmed = set(self._items)
        self._live = self._marked = False
        self._seen = 0

    def _finish_snapshot(self) -> None:
        """Take the snapshot as it is; without the relay's marker it is not all there is."""
        self._live = True
        if self._marked:
            self._complete()
        else:
            _LOG.info("the snapshot of %s is not complete yet", self.kind.resource)

    def _take_progress(self, revision: int) -> None:
        self._seen = max(self._seen, revision)
        self._marked = True
        if self._live:
            self._complete()

    def _complete(self) -> None:
        """Deliver as deleted what a complete snapshot has not confirmed, and let go who waits for what was seen."""
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        for name in unconfirmed:
            if (old := self._items.get(name)) is not None:
                self._replace(name, old, None, old.trace)
        self._synced.set()
        self._reach(self._seen)

    def _reach(self, revision: int) -> None:
        if revision > self._revision:
            self._revision = revision
            for version, waiter in self._waiters:
                if version <= revision and not waiter.done():
                    waiter.set_result(None)

    def _take(self, message: Message) -> None:
        try:
            event = object_pb2.ObjectEvent.FromString(message.data)
        except DecodeError as error:
            self._leave_out(message.subject, "envelope", error)
            return
        revision = event.revision
        if event.type == _PROGRESS:
            self._take_progress(revision)
            return
        name = (event.namespace, event.name)
        try:
            self._take_change(event, name, message.subject)
        finally:
            if self._live and self._marked:
                self._reach(revision)
            else:
                self._seen = max(self._seen, revision)

    def _take_change(self, event: object_pb2.ObjectEvent, name: _Name, subject: str) -> None:
        revision = event.revision
        if self._unconfirmed and event.type != _DELETED:
            self._unconfirmed.discard(name)
        old = self._items.get(name)
        if revision <= (old.revision if old is not None else self._tombstones.get(name, 0)):
            return
        trace = _copy(event)
        if event.type == _DELETED:
            self._bury(name, revision)
            if old is not None:
                self._replace(name, old, None, trace)
            return
        item = self._decode(event, subject, trace)
        if item is None:
            return
        self._tombstones.pop(name, None)
        if old is not None and old.uid != item.uid:
            self._replace(name, old, None, trace)
            old = None
        self._replace(name, old, item, trace)

    def _decode(self, event: object_pb2.ObjectEvent, subject: str, trace: TraceContext | None) -> Item[T] | None:
        """Return the event's object; None, logged and counted, when it cannot be read."""
        json = event.json
        if zlib.crc32(json) != event.checksum:
            self._leave_out(subject, "checksum", "the checksum does not match")
            return None
        try:
            view = self._decoder.decode(json)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._leave_out(subject, "object", error)
            return None
        if self._keep is not None:
            view = self._keep(view)
        labels = view.metadata.labels
        kept = json if self._documents else b""
        return Item(event.namespace, event.name, event.uid, event.revision, labels, trace, kept, view)

    def _leave_out(self, subject: str, reason: str, problem: object) -> None:
        _UNUSABLE.labels(self.kind.resource, reason).inc()
        _LOG.error("the event on %s is left out: %s", subject, problem)

    def _bury(self, name: _Name, revision: int) -> None:
        """Remember a deletion, so that an older event which comes later does not bring the object back."""
        self._tombstones.pop(name, None)
        self._tombstones[name] = revision
        if len(self._tombstones) > _TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]

    def _replace(self, name: _Name, old: Item[T] | None, new: Item[T] | None, trace: TraceContext | None) -> None:
        namespace = name[0]
        if new is not None:
            self._items[name] = new
            if namespace:
                self._namespaces.setdefault(namespace, {})[name[1]] = new
            if old is None:
                self._objects_metric.inc()
        else:
            del self._items[name]
            self._objects_metric.dec()
            if namespace:
                inhabitants = self._namespaces[namespace]
                del inhabitants[name[1]]
                if not inhabitants:
                    del self._namespaces[namespace]
        for index in self._indexers:
            self._index(index, old, new)
        if self._handlers:
            change = Change(old, new, trace)
            for handler in tuple(self._handlers):
                self._call(handler, change)

    def _index(self, index: str, old: Item[T] | None, new: Item[T] | None) -> None:
        entries = self._indexes[index]
        before = self._values(index, old) if old is not None else ()
        after = self._values(index, new) if new is not None else ()
        if old is not None and before != after:
            name = (old.namespace, old.name)
            for value in before:
                members = entries.get(value)
                if members is not None:
                    members.pop(name, None)
                    if not members:
                        del entries[value]
        if new is not None:
            name = (new.namespace, new.name)
            for value in after:
                entries.setdefault(value, {})[name] = new

    def _values(self, index: str, item: Item[T]) -> tuple[str, ...]:
        try:
            return tuple(self._indexers[index](item))
        except Exception:  # noqa: BLE001 - one odd object must not stop the informer; logged and counted
            self._count_failure(f"index {index!r}", item)
            return ()

    def _call(self, handler: Handler[T], change: Change[T]) -> None:
        try:
            handler(change)
        except Exception:  # noqa: BLE001 - one odd object must not stop the informer; logged and counted
            self._count_failure("a handler", change.item)

    def _count_failure(self, what: str, item: Item[T]) -> None:
        _FAILED_HANDLERS.labels(self.kind.resource).inc()
        _LOG.exception("%s of %s failed on %s/%s", what, self.kind.resource, item.namespace, item.name)


def _copy(event: object_pb2.ObjectEvent) -> TraceContext | None:
    """Return the event's trace context as a message of its own: a part would keep the whole event in memory."""
    if not event.HasField("trace"):
        return None
    return TraceContext(traceparent=event.trace.traceparent, tracestate=event.trace.tracestate)


class Informers:
    """The informers of a service: one for each kind, shared by all that read it, started together.

    `documents` are the kinds whose objects are kept as JSON, too, beside the view of them; None: all. A document takes
    about as much memory as the view. `keep` says of a kind what is kept of a view: the service reads nothing else.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        documents: Collection[Kind[Any]] | None = None,
        keep: Mapping[Kind[Any], Callable[[Any], Any]] | None = None,
    ) -> None:
        self._bus = bus
        self._keep = keep or {}
        self._documents = documents
        self._informers: dict[Kind[Any], Informer[Any]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def of(self, kind: Kind[T]) -> Informer[T]:
        """Return the kind's informer; while `run` is under way a new one starts at once."""
        informer = self._informers.get(kind)
        if informer is None:
            documents = self._documents is None or kind in self._documents
            keep = self._keep.get(kind)
            informer = self._informers[kind] = Informer(self._bus, kind, documents=documents, keep=keep)
            if self._tasks is not None:
                self._start(self._tasks, informer)
        return cast("Informer[T]", informer)

    def index(self, kind: Kind[T], name: str, indexer: Indexer[T]) -> None:
        """Keep an index of that name over the kind's objects."""
        self.of(kind).add_index(name, indexer)

    async def run(self) -> None:
        """Run all informers for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for informer in self._informers.values():
                    self._start(tasks, informer)
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    async def wait_synced(self, timeout: float = 30) -> None:
        """Wait until every informer has its snapshot. Raises UnavailableError, naming one that has none."""
        deadline = asyncio.get_running_loop().time() + timeout
        for informer in tuple(self._informers.values()):
            await informer.wait_synced(max(deadline - asyncio.get_running_loop().time(), 0))

    async def wait_seen(self, version: int, timeout: float = 30) -> None:
        """Wait until every informer has seen all up to `version`.

        A new leader waits for its own lease's revision: no write of its predecessor can come after that, so from then
        on it knows all that was done. Raises UnavailableError, naming an informer that lags.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        for informer in tuple(self._informers.values()):
            await informer.wait_seen(version, max(deadline - asyncio.get_running_loop().time(), 0))

    @staticmethod
    def _start(tasks: asyncio.TaskGroup, informer: Informer[Any]) -> None:
        tasks.create_task(informer.run(), name=f"informer {informer.kind.resource}")
