"""Leader election on a lease in the store: one leads, the others stand by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock, SystemClock
from orch.errors import LeaseLostError, StoreError, UnavailableError
from orch.store import keys
from orch.store.protocol import KeyValue, Store, last_version
from orch_pb.v1 import rpc_pb2

_log = logging.getLogger(__name__)

STATUS = Gauge("leader_election_master_status", "1 while this process leads the component, else 0.", ["name"])
RETRIES = Counter(
    "orch_leader_election_retries_total", "Failed attempts to campaign or to refresh the lease, by component.", ["name"]
)

_FIRST_BACKOFF = 0.1

ValueT = TypeVar("ValueT")


class _Term(msgspec.Struct, frozen=True):
    """A leadership. `asked` is the local monotonic time before the lease was asked for."""

    lease: int
    held: KeyValue
    asked: float


class LeaderElector:
    """Campaigns for a component's leadership and runs its work while leading.

    The lease lives `ttl` seconds in the store and is refreshed every third of that. The leader counts itself deposed,
    and stops its work, when no refresh has succeeded for two thirds of `ttl` by its own monotonic clock, measured from
    before the request was sent: so the work has a third of `ttl` to end before another can lead. That alone does not
    exclude two leaders (a process may be paused at any point), so every write carries `fence()`.
    """

    def __init__(
        self, store: Store, component: str, identity: str, *, ttl: float = 5, clock: Clock | None = None
    ) -> None:
        self._store = store
        self._component = component
        self._identity = identity.encode()
        self._ttl = ttl
        self._clock: Clock = clock or SystemClock()
        self._key = keys.leader_key(component)
        self._fence: rpc_pb2.Fence | None = None
        self._lease = 0
        self._leading = False

    @property
    def lease(self) -> int:
        """Return the latest leadership's lease, 0 before the first: what is bound to it ends with the leadership."""
        return self._lease

    @property
    def leading(self) -> bool:
        """Say whether this process counts itself the leader."""
        return self._leading

    def fence(self) -> rpc_pb2.Fence | None:
        """Return the proof of the latest leadership, None before the first.

        A deposed leader's stays: its late writes are to be refused rather than to go unfenced.
        """
        return self._fence

    async def wait_informed(self, wait_seen: Callable[[int], Awaitable[None]]) -> None:
        """Wait, as a new leader, until informers have seen all that the predecessor wrote.

        `wait_seen` waits for a resourceVersion (Informers.wait_seen). No fenced write of the predecessor can have come
        after this leadership began; what came before is seen once the informers have reached that version.
        """
        if self._fence is not None:
            await wait_seen(last_version(self._fence.create_revision))

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign for ever; while leading, run `lead`, and cancel it when the leadership is lost.

        Returns when `lead` returns and raises what it raises, after giving the leadership up. When cancelled, gives it
        up too, so that a standby takes over at once. Raises LeaseLostError when `lead` does not end in time after it
        was cancelled: then only the process's end is safe.
        """
        STATUS.labels(self._component).set(0)
        while True:
            term = await self._campaign()
            if await self._lead(term, lead):
                return
            # Whatever kept this process from refreshing, a standby without that trouble is to go first.
            await self._clock.sleep(self._ttl / 3)

    async def _campaign(self) -> _Term:
        """Return once this process holds the key."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                holder = await self._store.get(self._key)
                if holder is not None:
                    await self._until_vacant(holder)
                elif (term := await self._stand()) is not None:
                    return term
                backoff = _FIRST_BACKOFF
            except (UnavailableError, StoreError) as error:
                RETRIES.labels(self._component).inc()
                _log.warning("%s: the campaign for leadership failed, trying again: %s", self._component, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, self._ttl / 3)

    async def _stand(self) -> _Term | None:
        """Try to take the key; None when another was faster, or the store too slow for the lease to be safe."""
        asked = self._clock.monotonic()
        lease = await self._store.lease_grant(self._ttl)
        won = False
        try:
            held = await self._store.acquire(self._key, self._identity, lease)
            won = held.lease == lease and self._clock.monotonic() < asked + self._ttl * 2 / 3
            return _Term(lease, held, asked) if won else None
        finally:
            if not won:
                await self._revoke(lease)

    async def _until_vacant(self, holder: KeyValue) -> None:
        """Wait until the key was deleted, at most one ttl: then the caller looks again, whatever the watch says."""

        async def deleted() -> None:
            changes = self._store.watch(self._key, self._key + b"\x00", revision=holder.mod_revision + 1)
            async with contextlib.aclosing(changes):
                async for batch in changes:
                    if any(event.value is None for event in batch.events):
                        return

        with contextlib.suppress(TimeoutError):
            await self._within(self._ttl, deleted())

    async def _lead(self, term: _Term, lead: Callable[[], Awaitable[None]]) -> bool:
        """Run `lead` for as long as the lease is kept; True when `lead` returned by itself."""
        self._fence = rpc_pb2.Fence(key=self._key.decode(), create_revision=term.held.create_revision)
        self._lease = term.lease
        self._leading = True
        STATUS.labels(self._component).set(1)
        _log.info("%s: leading, fenced by revision %d", self._component, term.held.create_revision)

        async def working() -> None:
            await lead()

        work = asyncio.create_task(working(), name=f"lead-{self._component}")
        keeping = asyncio.create_task(self._keep(term), name=f"leader-{self._component}")
        try:
            await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
            finished = work.done()
        finally:
            # While a clean stop is under way the lease is still being kept; a deposed leader has a third of it left.
            ended = await self._end(work, self._ttl / 3 if keeping.done() else self._ttl)
            keeping.cancel()
            await asyncio.wait({keeping})
            self._leading = False
            STATUS.labels(self._component).set(0)
            _log.info("%s: not leading any more", self._component)
            if ended:
                await self._revoke(term.lease)
        if not ended:
            raise LeaseLostError(f"{self._component}: the leader's work did not end in time after the lease was lost")
        if not keeping.cancelled():
            keeping.result()
        if not work.cancelled():
            work.result()
        return finished

    async def _end(self, work: asyncio.Task[None], patience: float) -> bool:
        """Cancel the work and say whether it ended within `patience` seconds."""
        work.cancel()
        with contextlib.suppress(TimeoutError):
            await self._within(patience, asyncio.wait({work}))
        if not work.done():
            _log.error("%s: the leader's work did not end within %g s", self._component, patience)
        return work.done()

    async def _keep(self, term: _Term) -> None:
        """Refresh the lease for as long as it surely holds."""
        safe_until = term.asked + self._ttl * 2 / 3
        pause = self._ttl / 3
        while True:
            await self._clock.sleep(min(pause, max(safe_until - self._clock.monotonic(), 0)))
            asked = self._clock.monotonic()
            if asked >= safe_until:
                _log.error("%s: deposed: the lease could not be refreshed in time", self._component)
                return
            try:
                await self._within(safe_until - asked, self._refresh(term))
            except LeaseLostError as error:
                _log.error("%s: deposed: %s", self._component, error)
                return
            except (UnavailableError, StoreError, TimeoutError) as error:
                RETRIES.labels(self._component).inc()
                _log.warning("%s: the lease could not be refreshed, trying again: %s", self._component, error)
                pause = self._ttl / 15
            else:
                safe_until = asked + self._ttl * 2 / 3
                pause = self._ttl / 3

    async def _refresh(self, term: _Term) -> None:
        """Extend the lease and see that its key stands. Raises LeaseLostError."""
        await self._store.lease_refresh(term.lease)
        held = await self._store.get(self._key)
        if held is None or held.create_revision != term.held.create_revision:
            raise LeaseLostError("the leader key is gone although its lease is not")

    async def _revoke(self, lease: int) -> None:
        """Give the lease up if the store can be reached; if not, it ends by itself."""
        try:
            await self._within(self._ttl / 3, self._store.lease_revoke(lease))
        except (UnavailableError, StoreError, TimeoutError) as error:
            _log.warning("%s: the lease was left to expire: %s", self._component, error or "the store did not answer")

    async def _within(self, seconds: float, work: Coroutine[Any, Any, ValueT]) -> ValueT:
        """Return what `work` comes to; cancel it and raise TimeoutError when that takes longer than `seconds`."""
        task = asyncio.create_task(work)
        alarm = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise TimeoutError(f"no answer within {seconds:g} s")
        finally:
            task.cancel()
            alarm.cancel()
            await asyncio.gather(task, alarm, return_exceptions=True)
