"""Records what happens to objects as core/v1 Events, sparingly.

The rules are client-go's (tools/record): the same event again raises the count of the one that is there; ten that
differ in nothing but the message within ten minutes become one "(combined from similar events)"; and about one object a
source has a budget of 25 events that refills by one every five minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from prometheus_client import Counter

from orch.clock import Clock, rfc3339
from orch.errors import (
    AlreadyExistsError,
    InternalError,
    NotFoundError,
    OrchError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnavailableError,
)
from orch.errors import TimeoutError as ApiTimeoutError
from orch.objects.meta import Object, View
from orch.objects.scheme import EVENTS, Kind
from orch.runtime.client import Client
from orch.runtime.informer import Item
from orch.telemetry import TraceContext, current_trace, span

EventType = Literal["Normal", "Warning"]

_LOG: Final = logging.getLogger(__name__)
_SENT: Final = Counter("orch_events_sent", "Events written to the api.", ["component"])
_DROPPED: Final = Counter("orch_events_dropped", "Events that were not written.", ["component", "reason"])
_RETRIES: Final = Counter("orch_events_retries", "Attempts to write an event that were repeated.", ["component"])

_MOST_PENDING: Final = 2048
_REMEMBERED: Final = 4096
_SIMILAR: Final = 10
_SIMILAR_WITHIN: Final = timedelta(seconds=600)
_BURST: Final = 25.0
_REFILL: Final = 1 / 300
_WRITERS: Final = 8
_RESTS: Final = 9.0
"""How much longer than a write took its writer rests while more are waiting: events are told of what happened, and do
not hold up what happens. The busier the api is, the slower they come."""
_LONGEST_REST: Final = 2.0
_TRIES: Final = 12
_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 10.0
_LONGEST_NAME: Final = 253
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RECORDERS: Final = itertools.count(random.randrange(1000))  # noqa: S311 - it tells names apart, and guards nothing
"""The nanoseconds of a microsecond that a recorder uses: two of them tell of objects of one name at one moment."""
_TRANSIENT: Final = (
    UnavailableError,
    TooManyRequestsError,
    ServiceUnavailableError,
    InternalError,
    ApiTimeoutError,
)


class ObjectReference(View, frozen=True):
    """Names an object, or (`field_path`) a part of one."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


def reference(kind: Kind[Any], about: Item[Any] | Object) -> ObjectReference:
    """Return the reference to an object as an informer or the client gave it."""
    if isinstance(about, Item):
        namespace, name, uid, version = about.namespace, about.name, about.uid, str(about.revision)
    else:
        meta = about.metadata
        namespace, name, uid, version = meta.namespace, meta.name, meta.uid, meta.resource_version
    return ObjectReference(
        api_version=kind.api_version,
        kind=kind.name,
        namespace=namespace,
        name=name,
        uid=uid,
        resource_version=version,
    )


class _Meta(View, frozen=True):
    name: str
    namespace: str


class _Source(View, frozen=True):
    component: str
    host: str = ""


class _Event(View, frozen=True):
    """A core/v1 Event as it is written."""

    api_version: str
    kind: str
    metadata: _Meta
    involved_object: ObjectReference
    type: EventType
    reason: str
    message: str
    source: _Source
    first_timestamp: str
    last_timestamp: str
    count: int
    reporting_component: str
    reporting_instance: str = ""


class _Repetition(View, frozen=True):
    """What changes in an event that happens again."""

    count: int
    last_timestamp: str
    message: str


class _Pending(msgspec.Struct, frozen=True):
    event: _Event
    new: bool
    trace: TraceContext | None


class EventRecorder:
    """Takes events at once and writes them from `run`, which someone has to run.

    Losing one is no failure: it is counted and logged, and the service goes on.
    """

    def __init__(self, client: Client, component: str, clock: Clock, host: str = "") -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._correlator = _Correlator(clock)
        self._last_name = next(_RECORDERS) % 1000
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._writing: set[tuple[str, str]] = set()
        self._filled = asyncio.Event()

    def event(self, about: ObjectReference, type: EventType, reason: str, message: str) -> None:  # noqa: A002 - the field's name
        """Record that something happened to `about`. Never waits, never fails."""
        event, new = self._correlator.observe(self._build(about, type, reason, message))
        if event is None:
            self._drop("spam")
            return
        name = (event.metadata.namespace, event.metadata.name)
        waiting = self._pending.get(name)
        if waiting is None and len(self._pending) >= _MOST_PENDING:
            self._drop("full")
            return
        new = waiting.new if waiting is not None else new
        self._pending[name] = _Pending(event, new, current_trace())
        self._filled.set()

    async def run(self) -> None:
        """Write events for ever: several at a time, which the store takes together, and one at a time of each name."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WRITERS):
                tasks.create_task(self._work(), name="events")

    async def _work(self) -> None:
        while True:
            name = next((name for name in self._pending if name not in self._writing), None)
            if name is None:
                self._filled.clear()
                await self._filled.wait()
                continue
            self._writing.add(name)
            try:
                pending = self._pending.pop(name)
                began = self._clock.monotonic()
                with span("record event", parent=pending.trace):
                    await self._send(pending)
            finally:
                self._writing.discard(name)
                if name in self._pending:
                    self._filled.set()
            if self._pending and (took := self._clock.monotonic() - began) > 0:
                await self._clock.sleep(min(took * _RESTS, _LONGEST_REST))

    def _build(self, about: ObjectReference, type_: EventType, reason: str, message: str) -> _Event:
        now = self._clock.now()
        moment = rfc3339(now)
        # Nanoseconds as client-go's, and never the same ones twice, nor another recorder's.
        nanoseconds = (now - _EPOCH) // timedelta(microseconds=1) * 1000 + self._last_name % 1000
        self._last_name = max(nanoseconds, self._last_name + 1000)
        suffix = f".{self._last_name:x}"
        return _Event(
            api_version=EVENTS.api_version,
            kind=EVENTS.name,
            metadata=_Meta(
                name=about.name[: _LONGEST_NAME - len(suffix)].rstrip("-.") + suffix,
                namespace=about.namespace or "default",
            ),
            involved_object=about,
            type=type_,
            reason=reason,
            message=message,
            source=_Source(component=self._component, host=self._host),
            first_timestamp=moment,
            last_timestamp=moment,
            count=1,
            reporting_component=self._component,
            reporting_instance=self._host,
        )

    def _drop(self, reason: str) -> None:
        _DROPPED.labels(self._component, reason).inc()

    async def _send(self, pending: _Pending) -> None:
        delay = _FIRST_DELAY
        for _ in range(_TRIES):
            try:
                await self._write(pending)
            except _TRANSIENT as error:
                _RETRIES.labels(self._component).inc()
                _LOG.info("an event could not be written, again in %g s: %s", delay, error)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)
            except OrchError as error:
                self._drop("refused")
                _LOG.warning("the event %r about %s was refused: %s", pending.event.reason, _name(pending), error)
                return
            else:
                _SENT.labels(self._component).inc()
                return
        self._drop("unavailable")
        _LOG.warning("the event %r about %s is lost: the api cannot be reached", pending.event.reason, _name(pending))

    async def _write(self, pending: _Pending) -> None:
        event = pending.event
        namespace, name = event.metadata.namespace, event.metadata.name
        if not pending.new:
            repetition = _Repetition(count=event.count, last_timestamp=event.last_timestamp, message=event.message)
            try:
                await self._client.patch(EVENTS, namespace, name, repetition)
            except NotFoundError:
                _LOG.debug("the event %s/%s has expired and is made anew", namespace, name)
            else:
                return
        try:
            await self._client.create(EVENTS, namespace, event)
        except AlreadyExistsError:
            _LOG.debug("the event %s/%s was written by an attempt that seemed to fail", namespace, name)


def _name(pending: _Pending) -> str:
    about = pending.event.involved_object
    return f"{about.kind} {about.namespace}/{about.name}"


KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class _Recent(Generic[KeyT, ValueT]):
    """Remembers what was used last, so many entries of it."""

    def __init__(self) -> None:
        self._entries: dict[KeyT, ValueT] = {}

    def get(self, key: KeyT) -> ValueT | None:
        return self._entries.get(key)

    def put(self, key: KeyT, value: ValueT) -> None:
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > _REMEMBERED:
            del self._entries[next(iter(self._entries))]


class _Similar(msgspec.Struct):
    """The messages seen of events that differ in nothing else, and when last."""

    messages: set[str]
    last: datetime


class _Observed(msgspec.Struct, frozen=True):
    """The event that stands for all of its kind so far."""

    count: int
    first_timestamp: str
    metadata: _Meta


class _Budget(msgspec.Struct):
    tokens: float
    filled: float


class _Correlator:
    """Decides whether an event is new, a repetition, one of many similar ones, or too much."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._similar: _Recent[Hashable, _Similar] = _Recent()
        self._observed: _Recent[Hashable, _Observed] = _Recent()
        self._budgets: _Recent[Hashable, _Budget] = _Recent()

    def observe(self, event: _Event) -> tuple[_Event | None, bool]:
        """Return the event to be written and whether it is new; None when the object's budget is spent."""
        about = event.involved_object
        identity = (about.api_version, about.kind, about.namespace, about.name, about.uid)
        event, key = self._combine(event, (identity, event.type, event.reason))
        known = self._observed.get(key)
        if known is not None:
            event = msgspec.structs.replace(
                event, metadata=known.metadata, first_timestamp=known.first_timestamp, count=known.count + 1
            )
        self._observed.put(key, _Observed(event.count, event.first_timestamp, event.metadata))
        if not self._affordable(identity):
            return None, False
        return event, known is None

    def _combine(self, event: _Event, group: Hashable) -> tuple[_Event, Hashable]:
        """Return the event, or the one that stands for many similar ones, and what identifies it."""
        now = self._clock.now()
        similar = self._similar.get(group)
        if similar is None or now - similar.last > _SIMILAR_WITHIN:
            similar = _Similar(set(), now)
        similar.messages.add(event.message)
        similar.last = now
        self._similar.put(group, similar)
        if len(similar.messages) < _SIMILAR:
            return event, (group, event.involved_object.field_path, event.message)
        similar.messages.pop()
        message = f"(combined from similar events): {event.message}"
        return msgspec.structs.replace(event, message=message), group

    def _affordable(self, identity: Hashable) -> bool:
        now = self._clock.monotonic()
        budget = self._budgets.get(identity) or _Budget(_BURST, now)
        budget.tokens = min(budget.tokens + (now - budget.filled) * _REFILL, _BURST)
        budget.filled = now
        self._budgets.put(identity, budget)
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True
