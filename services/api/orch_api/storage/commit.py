"""Read-modify-write with compare-and-swap: of one object with retries, and of many in one group commit.

The first attempt starts from the cache. What it decides from a state that may be old (a refusal, "nothing to do") is
decided again on the state in the store before it counts; a successful compare-and-swap proves that it was current.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch import telemetry
from orch.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.protocol import Compare, Store, Write, Written, version_of
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import Cached, Encoded, StateReader

ATTEMPTS: Final = 8
CONFLICTS: Final = Counter("orch_api_write_conflicts", "Writes that lost and were decided again", ("resource",))
_LEADERSHIP_LOST: Final = "the leadership that this write was made under is lost"


class Verdict(enum.Enum):
    """What else than a new state a change may come to."""

    KEEP = "keep"
    REMOVE = "remove"


class Committed(msgspec.Struct, frozen=True):
    """A change that took place. `before` is the state that it was decided on; `json` is the new one's.

    For REMOVE, `version` is the deletion's; for KEEP, all is as before.
    """

    made: Encoded | Verdict
    before: Cached
    version: int

    @property
    def json(self) -> bytes:
        """The object after the change, or as it was when it is gone."""
        return self.made.complete(self.version) if isinstance(self.made, Encoded) else self.before.json


class Change(msgspec.Struct, frozen=True):
    """One change of a batch; `decide` may raise ApiError."""

    resource: Resource
    key: ObjectKey
    decide: Callable[[Cached], Encoded | Verdict]


class Committer:
    """Writes objects to the store."""

    def __init__(self, store: Store, cache: ObjectCache) -> None:
        self._store = store
        self._cache = cache
        self._states = StateReader()

    async def read(self, key: ObjectKey) -> Cached | None:
        """Return an object's state, read from the store."""
        found = await self._store.get(keys.object_key(key))
        return None if found is None else self._states.read_item(key, found)

    async def create(self, resource: Resource, key: ObjectKey, made: Encoded, fence: Compare | None) -> int:
        """Store a new object; return its version. Raises AlreadyExistsError."""
        with telemetry.span("store.commit"):
            written = await self._store.write(Write(keys.object_key(key), made.value, 0, fence))
        if written.succeeded:
            return version_of(written.revision, written.index)
        if written.fenced:
            raise ConflictError.of(resource.plural, resource.group, key.name, _LEADERSHIP_LOST)
        raise AlreadyExistsError.of(resource.plural, resource.group, key.name)

    async def change(
        self,
        resource: Resource,
        key: ObjectKey,
        decide: Callable[[Cached], Awaitable[Encoded | Verdict]],
        *,
        fence: Compare | None = None,
        dry_run: bool = False,
    ) -> Committed:
        """Change one object as `decide` says, deciding again when another write came first.

        Raises NotFoundError, what `decide` raises, and ConflictError after too many attempts.
        """
        item = self._cache.get(key)
        fresh = item is None
        if item is None:
            item = await self.read(key)
        for _ in range(ATTEMPTS):
            if item is None:
                raise NotFoundError.of(resource.plural, resource.group, key.name)
            try:
                made = await decide(item)
            except ApiError:
                if fresh:
                    raise
                latest, fresh = await self.read(key), True
                if latest is not None and latest.version == item.version:
                    raise  # it was decided on the newest state; deciding again may ask webhooks again
                item = latest
                continue
            if made is Verdict.KEEP and not fresh:
                latest, fresh = await self.read(key), True
                if latest is None or latest.version != item.version:
                    item = latest
                    continue
            if made is Verdict.KEEP or dry_run:
                return Committed(made, item, item.version)
            value = made.value if isinstance(made, Encoded) else None
            with telemetry.span("store.commit"):
                written = await self._store.write(Write(keys.object_key(key), value, item.revision, fence))
            if written.succeeded:
                return Committed(made, item, version_of(written.revision, written.index))
            item, fresh = self._lost(resource, key, written), True
        raise ConflictError.of(resource.plural, resource.group, key.name)

    async def change_all(
        self, changes: Sequence[Change], *, fence: Compare | None = None
    ) -> list[Committed | ApiError]:
        """Change many objects in one group commit, each succeeding or failing alone; outcomes in order."""
        outcomes: dict[int, Committed | ApiError] = {}
        states = {place: self._cache.get(change.key) for place, change in enumerate(changes)}
        fresh: set[int] = set()
        stale = {place for place, state in states.items() if state is None}
        for _ in range(ATTEMPTS):
            await self._refresh(changes, states, stale)
            fresh |= stale
            stale = set[int]()
            batch: dict[int, Committed] = {}
            taken: set[ObjectKey] = set()
            for place, change in enumerate(changes):
                if place in outcomes:
                    continue
                if change.key in taken:  # a key may be in a transaction only once
                    stale.add(place)
                    continue
                taken.add(change.key)
                made = _decide(change, states[place])
                if isinstance(made, Committed) and made.made is not Verdict.KEEP:
                    batch[place] = made
                elif place in fresh:
                    outcomes[place] = made
                else:
                    stale.add(place)
            await self._commit(changes, batch, fence, outcomes, states)
            fresh |= batch.keys()
            if len(outcomes) == len(changes):
                break
        for place, change in enumerate(changes):
            resource = change.resource
            outcomes.setdefault(place, ConflictError.of(resource.plural, resource.group, change.key.name))
        return [outcomes[place] for place in range(len(changes))]

    async def _refresh(self, changes: Sequence[Change], states: dict[int, Cached | None], stale: set[int]) -> None:
        places = sorted(stale)
        latest = await asyncio.gather(*(self.read(changes[place].key) for place in places))
        states.update(zip(places, latest, strict=True))

    async def _commit(
        self,
        changes: Sequence[Change],
        batch: Mapping[int, Committed],
        fence: Compare | None,
        outcomes: dict[int, Committed | ApiError],
        states: dict[int, Cached | None],
    ) -> None:
        if not batch:
            return
        writes = [
            Write(
                keys.object_key(made.before.key),
                made.made.value if isinstance(made.made, Encoded) else None,
                made.before.revision,
                fence,
            )
            for made in batch.values()
        ]
        with telemetry.span("store.commit", attributes={"writes": len(writes)}):
            results = await self._store.write_all(writes)
        for (place, made), written in zip(batch.items(), results, strict=True):
            if written.succeeded:
                outcomes[place] = Committed(made.made, made.before, version_of(written.revision, written.index))
                continue
            try:
                states[place] = self._lost(changes[place].resource, made.before.key, written)
            except ConflictError as error:
                outcomes[place] = error

    def _lost(self, resource: Resource, key: ObjectKey, written: Written) -> Cached | None:
        """Return the state that a write lost against. Raises ConflictError when it was fenced off."""
        if written.fenced:
            raise ConflictError.of(resource.plural, resource.group, key.name, _LEADERSHIP_LOST)
        CONFLICTS.labels(resource.plural).inc()
        return None if written.current is None else self._states.read_item(key, written.current)


def _decide(change: Change, state: Cached | None) -> Committed | ApiError:
    """Return what the change would make of the state."""
    if state is None:
        return NotFoundError.of(change.resource.plural, change.resource.group, change.key.name)
    try:
        return Committed(change.decide(state), state, state.version)
    except ApiError as error:
        return error
