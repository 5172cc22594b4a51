"""One leads, and only for as long as its lease surely holds; the others take over as soon as they may."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from orch.clock import ManualClock
from orch.errors import LeaseLostError, UnavailableError
from orch.runtime.leader import LeaderElector
from orch.store import keys
from orch.store.memory import MemoryStore
from orch.store.protocol import Compare, Write

TTL = 6.0


class FaultyStore(MemoryStore):
    """A store whose lease refreshes can be made to fail or to hang."""

    refresh_fails = False
    refresh_hangs = False
    grant_takes = 0.0

    async def lease_refresh(self, lease: int) -> None:
        if self.refresh_hangs:
            await asyncio.Event().wait()
        if self.refresh_fails:
            raise UnavailableError("the store is away")
        await super().lease_refresh(lease)

    async def lease_grant(self, ttl: float) -> int:
        lease = await super().lease_grant(ttl)
        if self.grant_takes:
            duration, self.grant_takes = self.grant_takes, 0.0
            await self._clock.sleep(duration)
        return lease


class Candidate:
    """An elector whose work is to note that it leads."""

    def __init__(self, store: MemoryStore, name: str, clock: ManualClock, log: list[str]) -> None:
        self.elector = LeaderElector(store, "scheduler", name, ttl=TTL, clock=clock)
        self.name = name
        self.log = log
        self.task: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        self.log.append(f"{self.name} leads")
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append(f"{self.name} ends")

    def start(self, lead: Callable[[], Awaitable[None]] | None = None) -> None:
        self.task = asyncio.create_task(self.elector.run(lead or self.lead))

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


async def _reached(clock: ManualClock, log: list[str], expected: list[str]) -> None:
    """Let what is due now happen until the log is as expected; no time passes."""
    async with asyncio.timeout(5):
        while log != expected:
            assert log == expected[: len(log)]
            await clock.advance(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[FaultyStore]:
    store = FaultyStore(clock)
    yield store
    await store.close()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
async def candidates(store: FaultyStore, clock: ManualClock, log: list[str]) -> AsyncIterator[list[Candidate]]:
    candidates = [Candidate(store, name, clock, log) for name in ("a", "b")]
    yield candidates
    for candidate in candidates:
        await candidate.stop()


async def test_one_leads_while_the_other_stands_by(
    candidates: list[Candidate], clock: ManualClock, log: list[str]
) -> None:
    for candidate in candidates:
        candidate.start()
    await clock.advance(20 * TTL)
    assert log == ["a leads"]
    assert [candidate.elector.leading for candidate in candidates] == [True, False]


async def test_a_clean_stop_hands_over_at_once(candidates: list[Candidate], clock: ManualClock, log: list[str]) -> None:
    for candidate in candidates:
        candidate.start()
        await clock.advance(0)
    await candidates[0].stop()
    await _reached(clock, log, ["a leads", "a ends", "b leads"])
    assert clock.monotonic() == 0


async def test_the_fence_is_the_keys_create_revision(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock
) -> None:
    assert candidates[0].elector.fence() is None
    candidates[0].start()
    await clock.advance(0)
    held = await store.get(keys.leader_key("scheduler"))
    fence = candidates[0].elector.fence()
    assert held is not None
    assert held.value == b"a"
    assert fence is not None
    assert (fence.key.encode(), fence.create_revision) == (held.key, held.create_revision)


async def test_a_deposed_leaders_write_is_refused(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock, log: list[str]
) -> None:
    for candidate in candidates:
        candidate.start()
        await clock.advance(0)
    await candidates[0].stop()
    await _reached(clock, log, ["a leads", "a ends", "b leads"])
    old, new = (candidate.elector.fence() for candidate in candidates)
    assert old is not None
    assert new is not None
    late = await store.write(Write(b"/x", b"late", None, Compare(old.key.encode(), old.create_revision)))
    fresh = await store.write(Write(b"/x", b"new", None, Compare(new.key.encode(), new.create_revision)))
    assert late.fenced
    assert fresh.succeeded


@pytest.mark.parametrize("fault", ["refresh_fails", "refresh_hangs"])
async def test_stops_before_its_lease_can_have_expired(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock, log: list[str], fault: str
) -> None:
    candidates[0].start()
    await clock.advance(TTL / 3)
    setattr(store, fault, True)  # the refresh at TTL/3 was the last to succeed
    await clock.advance(TTL * 2 / 3 - 0.1)
    assert log == ["a leads"]
    await clock.advance(0.1)
    await _reached(clock, log, ["a leads", "a ends"])


async def test_the_standby_takes_over_from_a_leader_that_cannot_refresh(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock, log: list[str]
) -> None:
    for candidate in candidates:
        candidate.start()
        await clock.advance(0)
    store.refresh_fails = True
    await clock.advance(TTL * 2 / 3)
    await _reached(clock, log, ["a leads", "a ends", "b leads"])


async def test_a_refresh_that_fails_once_is_tried_again(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock, log: list[str]
) -> None:
    candidates[0].start()
    await clock.advance(TTL / 3 - 0.1)
    store.refresh_fails = True
    await clock.advance(0.5)
    store.refresh_fails = False
    await clock.advance(5 * TTL)
    assert log == ["a leads"]


async def test_a_leader_whose_key_was_deleted_is_deposed(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock, log: list[str]
) -> None:
    for candidate in candidates:
        candidate.start()
        await clock.advance(0)
    await store.write(Write(keys.leader_key("scheduler"), None, None))
    await _reached(clock, log, ["a leads", "b leads"])
    await clock.advance(TTL / 3)
    await _reached(clock, log, ["a leads", "b leads", "a ends"])
    assert [candidate.elector.leading for candidate in candidates] == [False, True]


async def test_does_not_lead_on_a_lease_that_was_slow_to_come(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock, log: list[str]
) -> None:
    store.grant_takes = TTL * 0.7
    candidates[0].start()
    await clock.advance(TTL * 0.69)
    assert log == []
    await clock.advance(TTL * 0.02)
    assert log == ["a leads"]
    held = await store.get(keys.leader_key("scheduler"))
    assert held is not None
    assert held.lease == 2


async def test_what_the_work_raises_is_raised_and_the_lease_given_up(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock
) -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await candidates[0].elector.run(fail)
    assert await store.get(keys.leader_key("scheduler")) is None


async def test_returns_when_the_work_is_done(store: FaultyStore, candidates: list[Candidate]) -> None:
    async def done() -> None:
        return

    await candidates[0].elector.run(done)
    assert await store.get(keys.leader_key("scheduler")) is None
    assert not candidates[0].elector.leading


async def test_work_that_does_not_end_in_time_is_an_error(
    store: FaultyStore, candidates: list[Candidate], clock: ManualClock
) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    candidates[0].start(stubborn)
    await clock.advance(0)
    store.refresh_fails = True
    await clock.advance(TTL)
    task = candidates[0].task
    assert task is not None
    async with asyncio.timeout(5):
        with pytest.raises(LeaseLostError, match="did not end in time"):
            await task
    release.set()


async def test_the_gauge_follows(candidates: list[Candidate], clock: ManualClock) -> None:
    def gauge() -> float | None:
        return REGISTRY.get_sample_value("leader_election_master_status", {"name": "scheduler"})

    candidates[0].start()
    await clock.advance(0)
    assert gauge() == 1
    await candidates[0].stop()
    assert gauge() == 0
