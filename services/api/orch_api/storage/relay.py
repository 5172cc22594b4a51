"""The relay: puts every change of every object on the bus, in order, from one process at a time.

It is elected among the api's processes, and fenced by the streams themselves: each message names the one before it, so
that a relay which does not know that it was replaced is refused. When it starts, it compares each stream with the
store, publishes what is missing or stale and marks what is gone; then it follows the cache. Whatever fails on the way
(the bus restarts, a stream is deleted, the cache runs ahead by too much) ends in the same comparison.

Markers of progress tell informers when a snapshot is complete, and up to which version they have seen everything:
after a comparison, and then as the store moves on.

A bounded history of OBJECTS for replay is a second stream that sources the first; it is for the bus to keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.bus import subjects
from orch.bus.protocol import Bus, Link, Message, Signal, StreamSpec
from orch.clock import Clock
from orch.errors import BusError, ExpiredError, OrchError, StaleWriterError
from orch.runtime.leader import LeaderElector
from orch.store.keys import ObjectKey
from orch.store.protocol import Store
from orch_api.registry import Registry
from orch_api.storage.cache import Cached, CacheEvent, ObjectCache, Subscription
from orch_api.storage.events import change_event, gone_event
from orch_api.storage.notices import Notices
from orch_api.storage.objects import deleted_state
from orch_pb.v1 import object_pb2
from orch_pb.v1.object_pb2 import ObjectEvent

log = logging.getLogger(__name__)

PUBLISHED: Final = Counter("orch_relay_published", "Changes put on the bus", ("stream",))
REPAIRED: Final = Counter("orch_relay_repaired", "Messages that comparing a stream with the store added", ("stream",))
FAILURES: Final = Counter("orch_relay_failures", "Times that the relay had to compare the streams anew", ("reason",))

TOMBSTONE_TTL: Final = 3600.0
_WINDOW: Final = 256
_AT_ONCE: Final = 64
"""Messages that share an acknowledgement, at most."""
_BACKLOG: Final = 32_768
_PROBE_PERIOD: Final = 2.0
_MARK_PERIOD: Final = 0.25
_BUSY: Final = 4
_BREATH: Final = 0.005
"""After so many changes at once, seconds in which more may gather: sent together they cost everyone less."""
_READ_DEADLINE: Final = 120.0
_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0

_CHANGES: Final = {
    "ADDED": object_pb2.ADDED,
    "MODIFIED": object_pb2.MODIFIED,
    "DELETED": object_pb2.DELETED,
}


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What a stream says of a subject. `last` is the state, or the message of one that the cache does not have."""

    version: int
    deleted: bool
    last: Cached | bytes


class _Chain:
    """The messages of one stream, each sent with the id of the one before it; a bounded number is under way."""

    def __init__(self, bus: Bus, spec: StreamSpec, last: Message | None) -> None:
        self._bus = bus
        self._last_id = "" if last is None else last.message_id
        self._under_way: deque[tuple[asyncio.Future[int], int]] = deque()
        self._waiting = 0
        self.name = spec.name
        self.sequence = 0 if last is None else last.sequence
        self._published = PUBLISHED.labels(spec.name)

    async def send(self, links: Sequence[Link]) -> None:
        """Send messages once there is room. Raises what an earlier one failed with."""
        for first in range(0, len(links), _AT_ONCE):
            while self._under_way and (self._waiting >= _WINDOW or self._under_way[0][0].done()):
                await self._settle_oldest()
            part = links[first : first + _AT_ONCE]
            future = await self._bus.send_chain(part, self._last_id)
            self._under_way.append((future, len(part)))
            self._waiting += len(part)
            self._last_id = part[-1].message_id
            self._published.inc(len(part))

    async def drain(self) -> None:
        """Wait until all is stored. Raises what one failed with."""
        while self._under_way:
            await self._settle_oldest()

    async def abandon(self) -> None:
        """Let go of what is under way; its outcome no longer matters."""
        futures = [future for future, _ in self._under_way]
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
        self._under_way.clear()
        self._waiting = 0

    async def _settle_oldest(self) -> None:
        future, count = self._under_way[0]
        self.sequence = max(self.sequence, await future)
        self._under_way.popleft()
        self._waiting -= count


class Relay:
    """Publishes changes while this process is the elected one."""

    def __init__(
        self, store: Store, bus: Bus, cache: ObjectCache, registry: Registry, identity: str, clock: Clock
    ) -> None:
        self._store = store
        self._bus = bus
        self._cache = cache
        self._registry = registry
        self._identity = identity
        self._clock = clock

    async def run(self) -> None:
        """Campaign for ever, and relay while elected."""
        while True:
            elector = LeaderElector(self._store, "relay", self._identity, clock=self._clock)
            try:
                await elector.run(self._lead)
            except StaleWriterError as error:
                FAILURES.labels("stale").inc()
                log.warning("the relay steps down, another one has published: %s", error)
            await self._clock.sleep(_FIRST_BACKOFF)

    async def _lead(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            session = _Session(self._bus, self._cache, self._registry, self._clock)
            try:
                await session.run()
            except StaleWriterError:
                raise
            except ExpiredError:
                FAILURES.labels("behind").inc()
                log.warning("the relay fell behind the store and compares the streams anew")
            except (OrchError, TimeoutError) as error:
                FAILURES.labels("bus").inc()
                backoff = _FIRST_BACKOFF if session.synced else min(backoff * 2, _MAX_BACKOFF)
                log.warning("the relay cannot publish, next try in %.1f s: %s", backoff, error)
                await self._clock.sleep(backoff)


class _Session:
    """One comparison of the streams with the store, and what follows it until something fails."""

    def __init__(self, bus: Bus, cache: ObjectCache, registry: Registry, clock: Clock) -> None:
        self._bus = bus
        self._cache = cache
        self._registry = registry
        self._clock = clock
        self._id = secrets.token_hex(4)
        self._repairs = 0
        self._marks = 0
        self._marked_at = 0.0
        self.synced = False

    async def run(self) -> None:
        """Compare and follow. Raises what ended it: StaleWriterError, ExpiredError, BusError, UnavailableError."""
        await self._cache.wait_ready()
        objects, known_objects = await self._open(subjects.OBJECTS)
        nodes, known_pods = await self._open(subjects.NODES)
        tap = self._cache.tap(_BACKLOG)
        try:
            # The tap and these lists are of one moment, as nothing is awaited in between.
            on_objects = list(self._repairs_of(known_objects, dict(self._object_states())))
            on_nodes = list(self._repairs_of(known_pods, dict(self._pod_states())))
            del known_objects, known_pods
            notices = Notices(self._bus, self._cache.select("", "pods"))
            version = tap.progress
            await self._repair(objects, on_objects)
            await self._repair(nodes, on_nodes)
            await notices.tell(state for _, state, _, _ in on_objects if isinstance(state, Cached))
            await self._mark(objects, version)
            for node in self._cache.select("", "nodes"):
                await self._mark_node(nodes, node.key.name, version)
            del on_objects, on_nodes
            self.synced = True
            await self._follow(tap, objects, nodes, notices, version)
        finally:
            tap.close()
            await objects.abandon()
            await nodes.abandon()

    async def _open(self, spec: StreamSpec) -> tuple[_Chain, dict[str, _Known]]:
        """Make sure of a stream and read what it says. The last id is read first: what others add later is noticed."""
        await self._bus.ensure_stream(spec)
        chain = _Chain(self._bus, spec, await self._bus.last_message(spec.name))
        known: dict[str, _Known] = {}
        async with asyncio.timeout(_READ_DEADLINE), aclosing(self._bus.follow(spec.name, spec.subjects)) as messages:
            async for message in messages:
                if message is Signal.SYNCED:
                    return chain, known
                if not isinstance(message, Message):
                    known.clear()
                elif (said := self._known(message)) is not None:
                    known[message.subject] = said
        raise AssertionError("a follower does not end")

    def _known(self, message: Message) -> _Known | None:
        try:
            event = ObjectEvent.FromString(message.data)
        except DecodeError:
            log.error("a message on %s is no ObjectEvent and gives way to the truth, if there is one", message.subject)
            return None
        if event.type == object_pb2.PROGRESS:
            return None
        deleted = event.type == object_pb2.DELETED
        if deleted:
            return _Known(event.revision, True, b"")
        current = self._cache.get(ObjectKey(event.group, event.resource, event.namespace, event.name))
        if current is not None and current.uid == event.uid:
            return _Known(event.revision, False, current)
        return _Known(event.revision, False, message.data)

    def _object_states(self) -> Iterator[tuple[str, Cached]]:
        for item in self._cache.everything():
            yield _subject(item), item

    def _pod_states(self) -> Iterator[tuple[str, Cached]]:
        for item in self._cache.select("", "pods"):
            if item.node:
                yield _node_subject(item), item

    def _repairs_of(
        self, known: Mapping[str, _Known], states: Mapping[str, Cached]
    ) -> Iterator[tuple[str, Cached | bytes, int, bool]]:
        """Yield (subject, state or tombstone, version, whether it is new) of all that a stream has wrong, in order."""
        version = self._cache.version
        missing = [
            (subject, item)
            for subject, item in states.items()
            if (said := known.get(subject)) is None or said.deleted or said.version != item.version
        ]
        missing.sort(key=lambda pair: pair[1].version)
        for subject, item in missing:
            said = known.get(subject)
            yield subject, item, item.version, said is None or said.deleted
        for subject, said in known.items():
            if not said.deleted and subject not in states:
                yield subject, self._tombstone(said.last, version), version, False

    async def _repair(self, chain: _Chain, repairs: Sequence[tuple[str, Cached | bytes, int, bool]]) -> None:
        if repairs:
            log.info("the relay brings %d subjects of stream %s up to date", len(repairs), chain.name)
        for subject, state, version, new in repairs:
            self._repairs += 1
            message_id = f"{version}-{self._id}.{self._repairs}"
            if isinstance(state, bytes):
                link = Link(subject, state, message_id, TOMBSTONE_TTL)
            else:
                data = self._encode(state, object_pb2.ADDED if new else object_pb2.MODIFIED)
                link = Link(subject, data, message_id)
            await chain.send((link,))  # alone, so that what is wrong with one message is said of it
            REPAIRED.labels(chain.name).inc()
        await chain.drain()

    async def _follow(self, tap: Subscription, objects: _Chain, nodes: _Chain, notices: Notices, marked: int) -> None:
        """Publish what changes, mark how far that came, and look after the streams while nothing changes."""
        idle_since = self._clock.monotonic()
        kinds = self._registry.generation
        while True:
            batch: Sequence[CacheEvent] = ()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MARK_PERIOD):
                    batch = await anext(tap)
            if batch:
                await self._publish(batch, objects, nodes)
                await notices.follow(batch)
            if len(batch) >= _BUSY:
                await asyncio.sleep(_BREATH)
            now = self._clock.monotonic()
            if batch and now - self._marked_at < _MARK_PERIOD:
                continue
            if (version := tap.progress) > marked or kinds != self._registry.generation:
                kinds = self._registry.generation
                await self._mark(objects, version)
                marked, idle_since = version, now
            elif now - idle_since >= _PROBE_PERIOD:
                idle_since = now
                await objects.drain()
                await nodes.drain()
                await self._probe(objects, expected=True)
                await self._probe(nodes, expected=next(self._pod_states(), None) is not None)

    async def _mark(self, objects: _Chain, version: int) -> None:
        """Say for every resource that all its changes up to `version` have been sent."""
        self._marked_at = self._clock.monotonic()
        data = ObjectEvent(type=object_pb2.PROGRESS, revision=version).SerializeToString()
        marks = [
            Link(subjects.objects_progress(resource.group, resource.plural), data, self._mark_id(version))
            for resource in self._registry.kept()
        ]
        await objects.send(marks)

    async def _mark_node(self, nodes: _Chain, node: str, version: int) -> None:
        """Say that all pods of a node have been sent."""
        await nodes.send((self._node_mark(node, version),))

    def _node_mark(self, node: str, version: int) -> Link:
        data = ObjectEvent(type=object_pb2.PROGRESS, revision=version).SerializeToString()
        return Link(subjects.node_pods_progress(node), data, self._mark_id(version))

    def _mark_id(self, version: int) -> str:
        self._marks += 1
        return f"{version}-{self._id}.m{self._marks}"

    async def _probe(self, chain: _Chain, *, expected: bool) -> None:
        """Raise StaleWriterError when a stream was written by another, BusError when it lost what it held."""
        last = await self._bus.last_message(chain.name)
        if last is None and expected:
            raise BusError(f"stream {chain.name} has lost its messages")
        if last is not None and last.sequence > chain.sequence:
            raise StaleWriterError(f"stream {chain.name} has a message {last.message_id!r} of another writer")

    async def _publish(self, batch: Sequence[CacheEvent], objects: _Chain, nodes: _Chain) -> None:
        on_objects: list[Link] = []
        on_nodes: list[Link] = []
        for event in batch:
            item, previous = event.item, event.previous
            data = self._encode(item, _CHANGES[event.type])
            message_id = str(item.version)
            ttl = TOMBSTONE_TTL if item.deleted else 0
            on_objects.append(Link(_subject(item), data, message_id, ttl))
            if previous is not None and previous.node and previous.node != item.node:
                gone = self._encode(item, object_pb2.DELETED)  # another pod of the same name took its place meanwhile
                on_nodes.append(Link(_node_subject(previous), gone, f"{message_id}-{self._id}", TOMBSTONE_TTL))
            if item.node:
                on_nodes.append(Link(_node_subject(item), data, message_id, ttl))
            if event.type == "ADDED" and item.key.resource == "nodes" and not item.key.group:
                on_nodes.append(self._node_mark(item.key.name, item.version))
        await objects.send(on_objects)
        await nodes.send(on_nodes)

    def _tombstone(self, last: Cached | bytes, version: int) -> bytes:
        if isinstance(last, Cached):
            return self._encode(deleted_state(last, version), object_pb2.DELETED)
        return gone_event(ObjectEvent.FromString(last), version)

    def _encode(self, item: Cached, change: object_pb2.ChangeType) -> bytes:
        resource = self._registry.stored(item.key.group, item.key.resource)
        return change_event(item, change, sensitive=resource is not None and resource.sensitive)


def _subject(item: Cached) -> str:
    key = item.key
    return subjects.object_subject(key.group, key.resource, key.namespace, key.name)


def _node_subject(pod: Cached) -> str:
    return subjects.node_pod_subject(pod.node, pod.key.namespace, pod.key.name)
