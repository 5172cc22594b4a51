"""Watches over HTTP: initial state, live events, bookmarks and the end of the stream.

What a watch delivers follows k8s.io/apiserver's watch handler and cacher: an object that begins to match the selectors
is ADDED, one that stops matching is DELETED.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import msgspec

from orch.clock import Clock
from orch.errors import ApiError, Cause, InvalidError
from orch_api.auth.attributes import forbidden
from orch_api.auth.vigil import Standing
from orch_api.http.audience import BOOKMARK_PERIOD, PUSH, Audiences, Member, Push, Script, Told
from orch_api.http.exchange import Exchange
from orch_api.http.metrics import REQUESTS
from orch_api.http.render import Renderer
from orch_api.registry import Resource
from orch_api.storage.cache import Cached, CacheEvent, ObjectCache, Subscription
from orch_api.storage.objects import with_version
from orch_api.storage.selection import Selection
from orch_api.storage.versions import served_json

_MIN_TIMEOUT: Final = 1800.0
_MAX_TIMEOUT: Final = 366 * 86_400
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
_BATCH: Final = 500
_LAST_WORDS: Final = 0.2
"""Seconds in which a watch is still told what happened before its resource went."""


class WatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked to watch. `version` is None to start with the current state."""

    resource: Resource
    namespace: str
    name: str = ""
    selectors: tuple[str, str] = ("", "")
    """The label and the field selector that `matches` was made of."""
    matches: Selection
    version: int | None
    consistent: bool
    bookmarks: bool
    send_initial_events: bool | None
    timeout: float
    end: asyncio.Event | None = None
    """What is set when the resource is served no more."""
    standing: Standing | None = None
    """What tells when the watch is permitted no more."""


def timeout_of(seconds: int | None) -> float:
    """Return how long a watch lives: as asked, else a random half to whole hour so that watches do not end together."""
    if seconds:
        return float(min(seconds, _MAX_TIMEOUT))
    return _MIN_TIMEOUT * (1 + random.random())  # noqa: S311 - spreads load, guards nothing


def check_watch_options(send_initial_events: bool | None, match: str, continue_token: str) -> None:
    """Refuse combinations that Kubernetes refuses. Raises InvalidError."""
    problems: list[Cause] = []
    if send_initial_events is not None and match != "NotOlderThan":
        problems.append(_forbidden("resourceVersionMatch", "sendInitialEvents requires setting", " to NotOlderThan"))
    if match:
        if send_initial_events is None:
            what = "is forbidden for watch unless sendInitialEvents is provided"
            problems.append(_forbidden("resourceVersionMatch", "", f" {what}"))
        if match != "NotOlderThan":
            message = f'Unsupported value: "{match}": supported values: "NotOlderThan"'
            problems.append(Cause("FieldValueNotSupported", message, "resourceVersionMatch"))
        if continue_token:
            problems.append(_forbidden("resourceVersionMatch", "", " is forbidden when continue is provided"))
    if problems:
        raise InvalidError.of("ListOptions", "meta.k8s.io", "", problems)


def refuse_initial_events() -> None:
    """Refuse a list that asks for what only watches have. Raises InvalidError."""
    problem = _forbidden("sendInitialEvents", "", " is forbidden for list")
    raise InvalidError.of("ListOptions", "meta.k8s.io", "", [problem])


def _forbidden(field: str, before: str, after: str) -> Cause:
    words = f"{before} {field}{after}" if before else f"{field}{after}"
    return Cause("FieldValueForbidden", f"Forbidden: {words}", field)


class Watcher:
    """One client's watch, from its first event to its end."""

    def __init__(
        self, cache: ObjectCache, audiences: Audiences, request: WatchRequest, renderer: Renderer, clock: Clock
    ) -> None:
        self._cache = cache
        self._audiences = audiences
        self._push: Push | None = None
        self._request = request
        self._renderer = renderer
        self._clock = clock
        resource = request.resource
        self._settled: Callable[[], None] | None = None
        self._figures = REQUESTS.watch(resource.group, resource.version, resource.plural)

    async def serve(self, exchange: Exchange) -> None:
        """Answer until the timeout, the client's leaving, or an error, which is sent as the last event."""
        pieces = self.pieces()
        self._settled = exchange.settled
        if self._renderer.accepted.form != "Table":  # whose first event differs from the others
            self._push = exchange.scope.get(PUSH)
        try:
            first = await anext(pieces)  # what is refused is refused before the answer begins
            await exchange.start(self._renderer.stream_type)
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send(exchange, first, pieces))
                gone = tasks.create_task(exchange.gone())
                await self._until_over(sender, gone)
                sender.cancel()
                gone.cancel()
            if gone.cancelled() and sender.cancelled():
                await self._take_leave(exchange)
        finally:
            await pieces.aclose()

    async def _until_over(self, sender: asyncio.Task[None], gone: asyncio.Task[None]) -> None:
        """Return when all is sent, the client has left, or it may watch no more.

        When what it watches is served no more, that is after a moment.
        """
        end, standing = self._request.end, self._request.standing
        ended = None if end is None else asyncio.ensure_future(end.wait())
        revoked = None if standing is None else asyncio.ensure_future(standing.revoked.wait())
        causes = [cause for cause in (ended, revoked) if cause is not None]
        try:
            done, _ = await asyncio.wait((sender, gone, *causes), return_when=asyncio.FIRST_COMPLETED)
            if ended in done:
                await asyncio.wait((sender, gone), timeout=_LAST_WORDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for cause in causes:
                cause.cancel()

    async def _take_leave(self, exchange: Exchange) -> None:
        """End a stream from this side; one that may watch no more is told so."""
        standing = self._request.standing
        if standing is not None and standing.verdict is not None:
            refusal = forbidden(standing.caller, standing.wanted, standing.verdict.reason)
            await exchange.write(self._renderer.frame("ERROR", refusal.encode()))
        await exchange.end()

    async def _send(self, exchange: Exchange, first: bytes, pieces: AsyncGenerator[bytes]) -> None:
        try:
            async with asyncio.timeout(self._request.timeout):
                if first:
                    await exchange.write(first)
                async for piece in pieces:
                    await exchange.write(piece)
        except TimeoutError:
            pass
        except ApiError as error:
            await exchange.write(self._renderer.frame("ERROR", error.encode()))
        await exchange.end()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the stream's events, several at a time; the first piece may be empty."""
        request = self._request
        if request.consistent:
            await self._cache.catch_up()
        initial, since = await self._initial()
        subscription = self._subscribe(since)
        try:
            marked = request.send_initial_events and request.bookmarks
            if not (initial or marked):
                yield b""  # so that the answer begins before the first change
            for start in range(0, len(initial), _BATCH):
                yield self._count(await self._lines([("ADDED", item) for item in initial[start : start + _BATCH]]))
            del initial
            if marked:
                yield self._bookmark(since, initial_end=True)
            if self._settled is not None:
                self._settled()
            while True:
                if self._push is not None and subscription.idle:
                    member = Member(self._push, subscription.progress, bookmarks=request.bookmarks)
                    subscription.close()
                    subscription = self._subscribe(await self._among_others(member))
                try:
                    async with asyncio.timeout(BOOKMARK_PERIOD):
                        batch = await anext(subscription)
                except TimeoutError:
                    if request.bookmarks:
                        yield self._bookmark(subscription.progress)
                    continue
                if told := await self._told(batch):
                    yield self._count(told)
        finally:
            subscription.close()

    def _subscribe(self, since: int | None) -> Subscription:
        stored = self._request.resource.storage
        return self._cache.subscribe(stored.group, stored.plural, self._request.namespace, since=since)

    async def _among_others(self, member: Member) -> int:
        """Be told together with those that watch the same, until this client does not keep up; return how far."""
        request, accepted = self._request, self._renderer.accepted
        key = (id(request.resource), request.namespace, request.selectors, accepted)
        script = Script(self._told, self._render_bookmark, self._figures.sent)
        audience = self._audiences.find(key, lambda: self._subscribe(None), script)
        audience.join(member)
        try:
            return await member.left
        finally:
            audience.leave(member)

    async def _initial(self) -> tuple[Sequence[Cached], int]:
        """Return the state to begin with and the version after which events follow."""
        request = self._request
        wants_state = request.version is None or request.send_initial_events
        if request.send_initial_events is False and request.version is None:
            wants_state = False
        version = self._cache.version
        if not wants_state:
            return (), version if request.version is None else request.version
        stored = request.resource.storage
        chosen = self._cache.select(stored.group, stored.plural, request.namespace)
        await request.matches.prepare(chosen)
        return [item for item in chosen if request.matches(item)], version

    def _kind(self, event: CacheEvent) -> str:
        """Return what an event is to this watch: ADDED, MODIFIED or DELETED; "" when it is nothing."""
        matches = self._request.matches
        was = event.previous is not None and matches(event.previous)
        if event.type == "DELETED":
            return "DELETED" if was or (event.previous is None and matches(event.item)) else ""
        if matches(event.item):
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else ""

    async def _told(self, batch: Sequence[CacheEvent]) -> list[Told]:
        """Return what changes are to this watch."""
        if self._request.matches.converts:
            states = [state for event in batch for state in (event.previous, event.item) if state is not None]
            await self._request.matches.prepare(states)
        return await self._lines([(kind, _shown(kind, event)) for event in batch if (kind := self._kind(event))])

    async def _lines(self, told: Sequence[tuple[str, Cached]]) -> list[Told]:
        """Return the events as they are sent, their objects in the version that is watched."""
        documents = await served_json(self._request.resource, [item.json for _, item in told])
        event = self._renderer.event
        return [
            Told(item.version, event(kind, document, item.version))
            for (kind, item), document in zip(told, documents, strict=True)
        ]

    def _count(self, told: Sequence[Told]) -> bytes:
        """Count events that this watch is sent, and return them as one piece."""
        for one in told:
            self._figures.sent(len(one.line))
        return b"".join([one.line for one in told])

    def _bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        line = self._render_bookmark(version, initial_end=initial_end)
        self._figures.sent(len(line))
        return line

    def _render_bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        return self._renderer.bookmark(version, {_INITIAL_EVENTS_END: "true"} if initial_end else {})


def _shown(kind: str, event: CacheEvent) -> Cached:
    """Return the state that an event shows: of an object that stops matching, the last one that did."""
    previous = event.previous
    if kind != "DELETED" or event.type == "DELETED" or previous is None:
        return event.item
    version = event.item.version
    return msgspec.structs.replace(previous, json=with_version(previous.json, version), version=version)
