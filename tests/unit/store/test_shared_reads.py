"""Concurrent reads share a round trip, and no answer is older than its question."""

from __future__ import annotations

import asyncio

import pytest

from orch.errors import UnavailableError
from orch.store.shared_read import SharedRead


class Reads:
    def __init__(self) -> None:
        self.begun = 0
        self.release = asyncio.Event()
        self._begins = asyncio.Event()
        self.error: Exception | None = None

    async def read(self) -> int:
        self.begun += 1
        self._begins.set()
        number = self.begun
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return number

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.begun < count:
                self._begins.clear()
                await self._begins.wait()


async def test_who_asks_while_a_read_is_under_way_gets_the_next() -> None:
    reads = Reads()
    shared = SharedRead(reads.read)
    first = [asyncio.create_task(shared.get()) for _ in range(5)]
    await reads.until_begun(1)
    later = [asyncio.create_task(shared.get()) for _ in range(5)]
    await asyncio.sleep(0)
    reads.release.set()
    assert await asyncio.gather(*first) == [1] * 5
    assert await asyncio.gather(*later) == [2] * 5
    assert reads.begun == 2


async def test_one_who_gives_up_does_not_take_the_others_along() -> None:
    reads = Reads()
    shared = SharedRead(reads.read)
    calls = [asyncio.create_task(shared.get()) for _ in range(3)]
    await reads.until_begun(1)
    calls[0].cancel()
    reads.release.set()
    assert await asyncio.gather(*calls[1:]) == [1, 1]


async def test_an_error_is_told_to_all_and_the_next_read_is_a_new_one() -> None:
    reads = Reads()
    reads.release.set()
    reads.error = UnavailableError("away")
    shared = SharedRead(reads.read)
    results = await asyncio.gather(*(shared.get() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 3
    reads.error = None
    assert await shared.get() == 2


async def test_closing_fails_whoever_waits() -> None:
    reads = Reads()
    shared = SharedRead(reads.read)
    first = asyncio.create_task(shared.get())
    await reads.until_begun(1)
    second = asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    await shared.close()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 2
    with pytest.raises(UnavailableError):
        await shared.get()


async def test_the_next_read_waits_for_those_who_were_just_answered() -> None:
    reads = Reads()
    shared = SharedRead(reads.read, pause=0.01)

    async def ask_twice() -> tuple[int, int]:
        return await shared.get(), await shared.get()

    first = asyncio.create_task(ask_twice())
    await reads.until_begun(1)
    late = asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    reads.release.set()
    assert await first == (1, 2)
    assert await late == 2
    assert reads.begun == 2
