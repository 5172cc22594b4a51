from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from orch.clock import ManualClock
from orch.runtime.queue import WorkQueue
from orch.runtime.reconcile import Key

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("", "c")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> WorkQueue:
    return WorkQueue("test", clock)


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"name": "test"}) or 0


async def test_a_waiting_key_is_queued_once(queue: WorkQueue) -> None:
    for key in (A, B, A, A):
        queue.add(key)
    assert queue.depth == 2
    assert [await queue.get(), await queue.get()] == [A, B]
    assert queue.depth == 0


async def test_a_key_added_while_worked_on_comes_back_after_done_and_not_before(queue: WorkQueue) -> None:
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    queue.add(A)
    assert queue.depth == 0
    queue.done(A)
    assert queue.depth == 1
    assert await queue.get() == A
    queue.done(A)
    assert queue.depth == 0


async def test_a_waiting_worker_is_woken(queue: WorkQueue) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in (A, B, C):
        queue.add(key)
    assert {*await asyncio.gather(*workers)} == {A, B, C}


async def test_a_wake_up_survives_the_cancellation_of_its_worker(queue: WorkQueue) -> None:
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    first.cancel()
    assert await asyncio.wait_for(second, 1) == A
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_delayed_keys_come_at_their_moment(queue: WorkQueue, clock: ManualClock) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    queue.add_after(B, 2)
    queue.add_after(A, 1)
    queue.add_after(C, 0)
    await clock.advance(0)
    assert [task.done() for task in workers].count(True) == 1
    await clock.advance(1)
    assert {task.result() for task in workers if task.done()} == {A, C}
    await clock.advance(0.5)
    assert [task.done() for task in workers].count(True) == 2
    await clock.advance(0.5)
    assert {task.result() for task in workers} == {A, B, C}


async def test_an_earlier_delay_replaces_a_later_one_and_not_the_other_way_round(
    queue: WorkQueue, clock: ManualClock
) -> None:
    worker = asyncio.create_task(queue.get())
    queue.add_after(A, 10)
    await clock.advance(0)
    queue.add_after(A, 1)
    queue.add_after(A, 20)
    await clock.advance(1)
    assert worker.result() == A
    queue.done(A)
    again = asyncio.create_task(queue.get())
    await clock.advance(100)
    assert not again.done()
    again.cancel()


async def test_delays_are_watched_after_the_watching_worker_left(queue: WorkQueue, clock: ManualClock) -> None:
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    queue.add_after(A, 5)
    await clock.advance(0)
    queue.add(B)
    await clock.advance(0)
    assert first.done() != second.done()
    await clock.advance(5)
    assert {first.result(), second.result()} == {A, B}


async def test_delays_are_watched_after_the_watching_worker_was_cancelled(queue: WorkQueue, clock: ManualClock) -> None:
    first = asyncio.create_task(queue.get())
    queue.add_after(A, 5)
    await clock.advance(1)
    second = asyncio.create_task(queue.get())
    await clock.advance(0)
    first.cancel()
    await clock.advance(4)
    assert second.result() == A
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_key_due_while_worked_on_waits_for_done(queue: WorkQueue, clock: ManualClock) -> None:
    queue.add(A)
    await queue.get()
    worker = asyncio.create_task(queue.get())
    queue.add_after(A, 1)
    await clock.advance(2)
    assert not worker.done()
    queue.done(A)
    assert await asyncio.wait_for(worker, 1) == A


async def test_failures_double_the_delay_until_forgotten(clock: ManualClock) -> None:
    queue = WorkQueue("test", clock, base=1)

    async def expect_delay(seconds: float) -> None:
        queue.add_rate_limited(A)
        worker = asyncio.create_task(queue.get())
        await clock.advance(seconds - 0.5)
        assert not worker.done()
        await clock.advance(0.5)
        queue.done(worker.result())

    for seconds in (1, 2, 4, 8, 16, 32):
        await expect_delay(seconds)
    assert queue.failures(A) == 6
    queue.forget(A)
    assert queue.failures(A) == 0
    await expect_delay(1)


async def test_the_first_failure_waits_five_milliseconds(queue: WorkQueue, clock: ManualClock) -> None:
    queue.add_rate_limited(A)
    worker = asyncio.create_task(queue.get())
    await clock.advance(0.004)
    assert not worker.done()
    await clock.advance(0.001)
    assert worker.result() == A


async def test_delays_have_a_maximum_however_many_failures(queue: WorkQueue, clock: ManualClock) -> None:
    for _ in range(2000):
        queue.add_rate_limited(A)
    assert queue.failures(A) == 2000
    slow = WorkQueue("slow", clock, base=900, maximum=1000)
    for expected in (900, 1000, 1000):
        slow.add_rate_limited(A)
        worker = asyncio.create_task(slow.get())
        await clock.advance(expected - 1)
        assert not worker.done()
        await clock.advance(1)
        slow.done(worker.result())


async def test_the_queue_is_measured(queue: WorkQueue, clock: ManualClock) -> None:
    names = (
        "workqueue_depth",
        "workqueue_adds_total",
        "workqueue_retries_total",
        "workqueue_queue_duration_seconds_sum",
        "workqueue_work_duration_seconds_sum",
    )
    before = [metric(name) for name in names]
    queue.add(A)
    queue.add(A)
    queue.add(B)
    await clock.advance(3)
    await queue.get()
    await clock.advance(4)
    queue.done(A)
    queue.add_rate_limited(A)
    assert [metric(name) - old for name, old in zip(names, before, strict=True)] == pytest.approx([1, 2, 1, 3, 4])


async def test_a_failure_may_bound_its_own_delay(queue: WorkQueue, clock: ManualClock) -> None:
    for _ in range(20):
        queue.add_rate_limited(A, most=1.0)
    assert queue.failures(A) == 20
    await clock.advance(1.0)
    assert await queue.get() == A
