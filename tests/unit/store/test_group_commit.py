"""How writes are gathered into batches, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from orch.errors import StoreError, UnavailableError
from orch.store.committer import MAX_BATCH, MAX_BATCH_BYTES, Committer
from orch.store.protocol import Write, Written


class Batches:
    """Stands in for the store: batches wait until they are released."""

    def __init__(self, *, held: bool = False) -> None:
        self.seen: list[list[bytes]] = []
        self.release = asyncio.Event()
        self._came = asyncio.Event()
        self.active = 0
        self.most_active = 0
        self.fail_with: Exception | None = None
        self.poison = b""
        if not held:
            self.release.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.seen) < count:
                self._came.clear()
                await self._came.wait()

    async def commit(self, writes: Sequence[Write]) -> list[Written]:
        self.seen.append([write.key for write in writes])
        self._came.set()
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await self.release.wait()
        finally:
            self.active -= 1
        if self.fail_with is not None:
            raise self.fail_with
        if self.poison in self.seen[-1]:
            raise StoreError("poisoned")
        return [Written(True, len(self.seen), place) for place in range(len(writes))]


def _write(key: int, value: bytes = b"x") -> Write:
    return Write(b"%d" % key, value, None)


async def test_what_comes_in_one_turn_goes_in_one_batch() -> None:
    batches = Batches()
    committer = Committer(batches.commit)
    written = await asyncio.gather(*(committer.write(_write(key)) for key in range(10)))
    assert batches.seen == [[b"%d" % key for key in range(10)]]
    assert [each.index for each in written] == list(range(10))


async def test_an_idle_committer_does_not_wait() -> None:
    batches = Batches()
    committer = Committer(batches.commit, max_wait=60)
    async with asyncio.timeout(5):
        for key in range(3):
            await committer.write(_write(key))
    assert len(batches.seen) == 3


async def test_a_batch_has_a_limit_and_so_have_the_lanes() -> None:
    batches = Batches(held=True)
    committer = Committer(batches.commit, lanes=4)
    writing = asyncio.gather(*(committer.write(_write(key)) for key in range(MAX_BATCH * 6)))
    await batches.until(4)
    for _ in range(10):
        await asyncio.sleep(0)
    assert [len(batch) for batch in batches.seen] == [MAX_BATCH] * 4
    batches.release.set()
    await writing
    assert len(batches.seen) == 6
    assert batches.most_active == 4


async def test_a_key_is_in_one_batch_at_a_time_and_in_order() -> None:
    batches = Batches(held=True)
    committer = Committer(batches.commit)
    order: list[int] = []

    async def write(number: int) -> None:
        await committer.write(Write(b"same", b"%d" % number, None))
        order.append(number)

    tasks = [asyncio.create_task(write(number)) for number in range(5)]
    await batches.until(1)
    other = asyncio.create_task(committer.write(Write(b"other", b"x", None)))
    await batches.until(2)
    assert batches.seen == [[b"same"], [b"other"]]
    batches.release.set()
    await asyncio.gather(*tasks, other)
    assert order == list(range(5))
    assert batches.seen.count([b"same"]) == 5


async def test_batches_are_split_by_bytes() -> None:
    batches = Batches()
    committer = Committer(batches.commit)
    size = MAX_BATCH_BYTES // 3
    sizes = [size, size, size, 2 * MAX_BATCH_BYTES, 10]
    await committer.write_all([_write(key, b"x" * length) for key, length in enumerate(sizes)])
    assert batches.seen == [[b"0", b"1"], [b"2"], [b"3"], [b"4"]]


async def test_one_refused_write_fails_alone() -> None:
    batches = Batches()
    batches.poison = b"5"
    committer = Committer(batches.commit)
    results = await asyncio.gather(*(committer.write(_write(key)) for key in range(8)), return_exceptions=True)
    assert [isinstance(result, StoreError) for result in results] == [key == 5 for key in range(8)]
    assert "the write of 5 (1 bytes) failed: poisoned" in str(results[5])


async def test_an_unknown_outcome_is_told_to_all_and_not_repeated() -> None:
    batches = Batches()
    batches.fail_with = UnavailableError("connection lost")
    committer = Committer(batches.commit)
    results = await asyncio.gather(*(committer.write(_write(key)) for key in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 3
    assert len(batches.seen) == 1
    assert len(set(map(id, results))) == 3


async def test_write_all_raises_the_first_error_after_all_are_decided() -> None:
    batches = Batches()
    batches.poison = b"1"
    committer = Committer(batches.commit)
    with pytest.raises(StoreError, match="poisoned"):
        await committer.write_all([_write(key) for key in range(3)])
    assert [b"2"] in batches.seen


async def test_a_cancelled_write_is_not_sent_and_lets_the_next_go() -> None:
    batches = Batches(held=True)
    committer = Committer(batches.commit, lanes=1)
    first = asyncio.create_task(committer.write(_write(0)))
    await batches.until(1)
    given_up = asyncio.create_task(committer.write(_write(1)))
    follower = asyncio.create_task(committer.write(_write(1, b"second")))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    batches.release.set()
    await asyncio.gather(first, follower)
    assert batches.seen == [[b"0"], [b"1"]]


async def test_what_cannot_be_sent_in_time_fails() -> None:
    batches = Batches(held=True)
    committer = Committer(batches.commit, lanes=1, patience=0.01)
    first = asyncio.create_task(committer.write(_write(0)))
    await batches.until(1)
    late = asyncio.create_task(committer.write(_write(1)))
    loop = asyncio.get_running_loop()
    loop.call_later(0.03, batches.release.set)
    await first
    with pytest.raises(UnavailableError, match="could not be sent"):
        await late
    assert batches.seen == [[b"0"]]


async def test_closing_fails_what_waits_and_what_is_under_way() -> None:
    batches = Batches(held=True)
    committer = Committer(batches.commit, lanes=1)
    calls = [asyncio.create_task(committer.write(_write(key))) for key in range(MAX_BATCH + 5)]
    calls.append(asyncio.create_task(committer.write(_write(0))))
    await batches.until(1)
    await committer.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * len(calls)
    with pytest.raises(UnavailableError):
        await committer.write(_write(1))
    with pytest.raises(UnavailableError):
        await committer.write_all([_write(1), _write(2)])


async def test_a_defect_of_the_store_reaches_the_writers() -> None:
    batches = Batches()
    batches.fail_with = RuntimeError("a defect")
    committer = Committer(batches.commit)
    with pytest.raises(RuntimeError, match="a defect"):
        await committer.write(_write(0))
