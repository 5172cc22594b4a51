"""What has to be done from time to time, by one elected process: compaction, old Events, forgotten claims."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock, parse_rfc3339
from orch.errors import OrchError
from orch.runtime.leader import LeaderElector
from orch.store.protocol import Compare, Store
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.claims import Claims
from orch_api.storage.commit import Change, Committer, Verdict

log = logging.getLogger(__name__)

COMPACTED: Final = Gauge("orch_store_compacted_revision", "The revision that the store was last compacted at")
EXPIRED: Final = Counter("orch_events_expired", "Event objects that were removed for their age")
FAILURES: Final = Counter("orch_upkeep_failures", "Upkeep that failed and is tried again a period later", ("what",))

_EVENTS_PERIOD: Final = 60.0
_BATCH: Final = 128


class _EventMeta(msgspec.Struct, rename="camel", gc=False):
    creation_timestamp: str | None = None


class _Series(msgspec.Struct, rename="camel", gc=False):
    last_observed_time: str | None = None


class _EventTimes(msgspec.Struct, rename="camel", gc=False):
    metadata: _EventMeta
    last_timestamp: str | None = None
    event_time: str | None = None
    series: _Series | None = None


_times = msgspec.json.Decoder(_EventTimes).decode


class Upkeep:
    """Runs the periodic work while this process is the elected one."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        claims: Claims,
        registry: Registry,
        identity: str,
        clock: Clock,
        *,
        compaction_interval: float,
        event_ttl: float,
    ) -> None:
        self._store = store
        self._cache = cache
        self._claims = claims
        self._registry = registry
        self._committer = Committer(store, cache)
        self._elector = LeaderElector(store, "upkeep", identity, clock=clock)
        self._clock = clock
        self._interval = compaction_interval
        self._event_ttl = timedelta(seconds=event_ttl)

    async def run(self) -> None:
        """Campaign for ever, and do the work while elected."""
        await self._elector.run(self._lead)

    async def _lead(self) -> None:
        await self._cache.wait_ready()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compact_regularly())
            tasks.create_task(self._expire_regularly())

    async def _compact_regularly(self) -> None:
        """Forget, each period, what was old at the end of the one before: pages and watches have a period to end."""
        revision = 0
        while True:
            try:
                if revision:
                    await self._store.compact(revision)
                    COMPACTED.set(revision)
                revision = await self._store.revision()
                for resource in self._registry.resources:
                    if resource.strategy.allocates:
                        await self._claims.repair(resource)
            except OrchError as error:
                FAILURES.labels("compaction").inc()
                log.warning("compaction failed: %s", error)
            await self._clock.sleep(self._interval)

    async def _expire_regularly(self) -> None:
        while True:
            try:
                await self.expire_events()
            except OrchError as error:
                FAILURES.labels("events").inc()
                log.warning("old events could not be removed: %s", error)
            await self._clock.sleep(_EVENTS_PERIOD)

    async def expire_events(self) -> int:
        """Remove the Events that were not seen for their time to live; return how many."""
        resource = self._registry.stored("", "events")
        if resource is None:
            return 0
        oldest = self._clock.now() - self._event_ttl
        doomed = [item for item in self._cache.select("", "events") if last_seen(item) < oldest]
        removed = 0
        for start in range(0, len(doomed), _BATCH):
            changes = [_removal(resource, item) for item in doomed[start : start + _BATCH]]
            results = await self._committer.change_all(changes, fence=self._fence())
            removed += sum(not isinstance(result, Exception) for result in results)
        EXPIRED.inc(removed)
        return removed

    def _fence(self) -> Compare | None:
        fence = self._elector.fence()
        return None if fence is None else Compare(fence.key.encode(), fence.create_revision)


def _removal(resource: Resource, item: Cached) -> Change:
    def decide(current: Cached) -> Verdict:
        return Verdict.REMOVE if current.version == item.version else Verdict.KEEP

    return Change(resource, item.key, decide)


def last_seen(event: Cached) -> datetime:
    """Return when an Event was last seen, as far as it says."""
    times = _times(event.json)
    return max(map(parse_rfc3339, _moments(times)))


def _moments(times: _EventTimes) -> Iterator[str]:
    yield times.metadata.creation_timestamp or "1970-01-01T00:00:00Z"
    if times.last_timestamp:
        yield times.last_timestamp
    if times.event_time:
        yield times.event_time
    if times.series is not None and times.series.last_observed_time:
        yield times.series.last_observed_time
