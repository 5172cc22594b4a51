"""The right to bind: of the schedulers of a cluster, one has it at a time.

Schedulers for different names each have their own leader, and each sees the others' bindings, but a moment late: two of
them could give the same room away. So whoever plans holds the turn, a key in the store that lives by its leader's
lease. It begins to plan once its informers have seen all that was bound before it took the turn, and its bindings carry
the turn as their fence: none can be committed after it has passed the turn on, or lost it. A scheduler that is alone
takes the turn once and keeps it; another one asks for it, and gets it after a moment.

Who passes the turn on leaves word up to which version it has bound pods, so that the next one waits for no more than
that. Without such word, because the turn was lost, it waits until it has seen everything up to its own turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import OrchError, UnavailableError
from orch.objects.scheme import PODS
from orch.runtime.informer import Informers
from orch.store import keys
from orch.store.protocol import KeyValue, Store, Write, last_version
from orch_pb.v1 import rpc_pb2

log = logging.getLogger(__name__)

HELD: Final = Gauge("scheduler_turn_held", "1 while this scheduler has the right to bind, else 0")
TURNS: Final = Counter("scheduler_turns", "Times that this scheduler took the right to bind")
FAILURES: Final = Counter("scheduler_turn_failures", "Attempts to take, pass on or watch the right to bind that failed")

TURN: Final = "scheduler-turn"
ASKED: Final = "scheduler-turn-asked"
WORD: Final = "scheduler-turn-word"
TENURE: Final = 0.05
"""Seconds that a busy scheduler keeps the turn although another one waits for it."""

_LOOK_AGAIN: Final = 1.0
_FIRST_BACKOFF: Final = 0.05
_LAST_BACKOFF: Final = 2.0


class Lease(Protocol):
    """The leader's lease, by which the turn lives."""

    @property
    def lease(self) -> int:
        """The lease's id in the store."""
        ...


class Seen(Protocol):
    """What this scheduler has seen of the cluster. What waits raises UnavailableError after a while."""

    async def everything(self, version: int) -> None:
        """Wait until every change up to a version has been seen."""
        ...

    async def pods(self, version: int) -> None:
        """Wait until every change of a pod up to a version has been seen."""
        ...

    def newest_pod(self) -> int:
        """Return the highest version of a pod that has been seen."""
        ...


class SeenByInformers:
    """What the informers have seen."""

    def __init__(self, informers: Informers) -> None:
        self._informers = informers

    async def everything(self, version: int) -> None:
        """Wait until every change up to a version has been seen."""
        await self._informers.wait_seen(version)

    async def pods(self, version: int) -> None:
        """Wait until every change of a pod up to a version has been seen."""
        await self._informers.of(PODS).wait_seen(version)

    def newest_pod(self) -> int:
        """Return the highest version of a pod that has been seen."""
        return max((item.revision for item in self._informers.of(PODS).items()), default=0)


class Turn:
    """Takes the turn and passes it on."""

    def __init__(self, store: Store, identity: str, lease: Lease, clock: Clock, seen: Seen) -> None:
        self._store = store
        self._identity = identity.encode()
        self._lease = lease
        self._clock = clock
        self._seen = seen
        self._bound = 0
        self._held: KeyValue | None = None
        self._fence: rpc_pb2.Fence | None = None
        self._since = 0.0
        self._asked = asyncio.Event()

    def fence(self) -> rpc_pb2.Fence | None:
        """Return the proof of the latest turn, None before the first; what a past one proves is refused."""
        return self._fence

    def number(self) -> int:
        """Return a number that no other turn has, 0 while it is another's."""
        return self._held.create_revision if self._held is not None else 0

    @property
    def held(self) -> bool:
        """Whether this scheduler has the turn."""
        return self._held is not None

    def begin(self) -> None:
        """Begin a leader's term: a turn of an earlier one was lost with its lease."""
        self._held = None
        self._bound = 0
        self._asked.clear()
        HELD.set(0)

    async def take(self) -> None:
        """Return once the turn is held and everything that was bound before it has been seen."""
        backoff = _FIRST_BACKOFF
        while self._held is None:
            try:
                await self._try()
            except OrchError as error:
                FAILURES.inc()
                log.warning("the turn could not be taken, again in %.2f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF)

    async def wait_asked(self) -> None:
        """Return when another scheduler wants the turn and this one has had it for its while."""
        await self._asked.wait()
        await self._clock.sleep(max(0.0, self._since + TENURE - self._clock.monotonic()))

    def bound(self, version: int) -> None:
        """Take note that a pod was bound, which made this version of it."""
        self._bound = max(self._bound, version)

    async def pass_on(self) -> None:
        """Give the turn up. Whatever is still under way is refused from now on."""
        held, self._held = self._held, None
        self._asked.clear()
        HELD.set(0)
        if held is None:
            return
        try:
            await self._store.acquire(_WORD_KEY, str(self._bound).encode(), self._lease.lease)
            await self._store.write(Write(held.key, None, held.mod_revision))
        except OrchError as error:  # it ends with the lease at the latest
            FAILURES.inc()
            log.warning("the turn could not be passed on: %s", error)

    async def watch(self) -> None:
        """Follow, for ever, whether another scheduler asks for the turn."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                found = await self._store.get(_ASKED_KEY)
                self._note(found.value if found is not None else None)
                revision = await self._store.revision()
                changes = self._store.watch(_ASKED_KEY, _ASKED_KEY + b"\x00", revision=revision)
                async with contextlib.aclosing(changes):
                    async for batch in changes:
                        for event in batch.events:
                            self._note(event.value)
                        backoff = _FIRST_BACKOFF
            except OrchError as error:
                FAILURES.inc()
                log.warning("who asks for the turn cannot be seen, again in %.2f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF)

    def _note(self, value: bytes | None) -> None:
        if value is not None and self._identity not in value:
            self._asked.set()

    async def _try(self) -> None:
        # Who asked before goes first: it takes its word back when it has the turn.
        first = await self._store.get(_ASKED_KEY)
        while first is not None and first.lease != self._lease.lease:
            await self._until_gone(first)
            first = await self._store.get(_ASKED_KEY)
        held = await self._store.acquire(_TURN_KEY, self._identity, self._lease.lease)
        asked: KeyValue | None = None
        try:
            while held.lease != self._lease.lease:
                if asked is None or asked.lease != self._lease.lease:
                    asked = await self._store.acquire(_ASKED_KEY, self._identity, self._lease.lease)
                # Either key may be what this one waits for: the turn itself, or the place of the one who asks next.
                await self._until_gone(held if asked.lease == self._lease.lease else asked)
                held = await self._store.acquire(_TURN_KEY, self._identity, self._lease.lease)
        finally:
            if asked is not None and asked.lease == self._lease.lease:
                await self._store.write(Write(_ASKED_KEY, None, asked.mod_revision))
        await self._catch_up(held)
        self._fence = rpc_pb2.Fence(key=held.key.decode(), create_revision=held.create_revision)
        self._held, self._since = held, self._clock.monotonic()
        self._asked.clear()
        await self._look_for_others()
        TURNS.inc()
        HELD.set(1)

    async def _catch_up(self, held: KeyValue) -> None:
        """Wait until all that was bound has been seen, and take the last one's word away: this turn may be lost."""
        word = await self._store.get(_WORD_KEY)
        if word is not None and word.value.isdigit():
            await self._seen.pods(int(word.value))
            self._bound = max(self._bound, int(word.value))
        else:
            await self._seen.everything(last_version(held.create_revision))
            self._bound = max(self._bound, self._seen.newest_pod())
        if word is not None:
            await self._store.write(Write(_WORD_KEY, None, word.mod_revision))

    async def _look_for_others(self) -> None:
        found = await self._store.get(_ASKED_KEY)
        self._note(found.value if found is not None else None)

    async def _until_gone(self, item: KeyValue) -> None:
        """Wait until a key was deleted, at most a second: then the caller looks again, whatever the watch says."""

        async def deleted() -> None:
            changes = self._store.watch(item.key, item.key + b"\x00", revision=item.mod_revision + 1)
            async with contextlib.aclosing(changes):
                async for batch in changes:
                    if any(event.value is None for event in batch.events):
                        return

        waiting = asyncio.ensure_future(deleted())
        alarm = asyncio.ensure_future(self._clock.sleep(_LOOK_AGAIN))
        try:
            await asyncio.wait((waiting, alarm), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and (error := waiting.exception()) is not None:
                raise error if isinstance(error, OrchError) else UnavailableError(str(error))
        finally:
            waiting.cancel()
            alarm.cancel()
            await asyncio.gather(waiting, alarm, return_exceptions=True)


_TURN_KEY: Final = keys.leader_key(TURN)
_ASKED_KEY: Final = keys.leader_key(ASKED)
_WORD_KEY: Final = keys.leader_key(WORD)
