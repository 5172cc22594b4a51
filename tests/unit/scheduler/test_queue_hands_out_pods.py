import asyncio

import pytest

from orch.clock import ManualClock
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.queue import PARKED_AT_MOST, PodQueue, Waiting


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(clock):
    return PodQueue(clock)


@pytest.fixture
def waiting(demand_of, clock):
    def make(uid, *, priority=0, cpu="1"):
        demand = demand_of({"priority": priority}, cpu=cpu)
        return Waiting(uid=uid, namespace="d", name=uid, revision=1, demand=demand, trace=None, since=clock.monotonic())

    return make


def uids(batch):
    return [pod.uid for pod in batch]


async def test_priority_first_then_the_longest_waiting(queue, waiting, clock):
    queue.put(waiting("low"))
    await clock.advance(1)
    queue.put(waiting("later"))
    queue.put(waiting("high", priority=10))
    assert uids(queue.pop(10)) == ["high", "low", "later"]


async def test_a_pod_is_handed_out_once(queue, waiting):
    queue.put(waiting("a"))
    queue.put(waiting("a"))
    assert uids(queue.pop(10)) == ["a"]
    assert queue.pop(10) == []
    assert "a" in queue


async def test_a_removed_pod_is_not_handed_out(queue, waiting):
    queue.put(waiting("a"))
    queue.remove("a")
    assert queue.pop(10) == []
    assert len(queue) == 0


async def test_a_parked_pod_waits_for_a_change_that_can_help(queue, waiting, clock):
    queue.put(waiting("a"))
    queue.park(queue.pop(1)[0], Wake.NODE_ADDED, "no")
    await clock.advance(5)
    queue.woken(Wake.NODE_LABELS)
    assert queue.pop(1) == []
    queue.woken(Wake.NODE_ADDED)
    assert uids(queue.pop(1)) == ["a"]


async def test_a_parked_pod_that_is_woken_at_once_still_backs_off(queue, waiting, clock):
    queue.put(waiting("a"))
    queue.park(queue.pop(1)[0], Wake.POD_REMOVED, "no")
    queue.woken(Wake.POD_REMOVED)
    assert queue.pop(1) == []
    await clock.advance(1)
    assert uids(queue.pop(1)) == ["a"]


async def test_the_back_off_doubles_up_to_ten_seconds(queue, waiting, clock):
    queue.put(waiting("a"))
    for pause in (1, 2, 4, 8, 10, 10):
        queue.retry(queue.pop(1)[0])
        await clock.advance(pause - 0.01)
        assert queue.pop(1) == []
        await clock.advance(0.01)
    assert uids(queue.pop(1)) == ["a"]


async def test_a_parked_pod_is_tried_again_after_a_while_whatever_happens(queue, waiting, clock):
    queue.put(waiting("a"))
    queue.park(queue.pop(1)[0], Wake.NODE_ADDED, "no")
    await clock.advance(PARKED_AT_MOST)
    assert uids(queue.pop(1)) == ["a"]


async def test_a_parked_pod_whose_demand_changed_is_tried_at_once(queue, waiting):
    queue.put(waiting("a"))
    queue.park(queue.pop(1)[0], Wake.NODE_ADDED, "no")
    queue.put(waiting("a", cpu="2"))
    assert uids(queue.pop(1)) == ["a"]


async def test_waiting_ends_when_a_pod_comes_or_its_back_off_ends(queue, waiting, clock):
    task = asyncio.ensure_future(queue.wait())
    await asyncio.sleep(0)
    assert not task.done()
    queue.put(waiting("a"))
    await task
    queue.retry(queue.pop(1)[0])
    task = asyncio.ensure_future(queue.wait())
    await clock.advance(0.5)
    assert not task.done()
    await clock.advance(0.5)
    await task
    assert uids(queue.pop(1)) == ["a"]


async def test_without_priorities_the_first_come_is_the_first(waiting, clock):
    queue = PodQueue(clock, by_priority=False)
    queue.put(waiting("low"))
    await clock.advance(1)
    queue.put(waiting("high", priority=10))
    assert uids(queue.pop(10)) == ["low", "high"]


async def test_what_was_handed_out_and_not_heard_of_is_reclaimed(queue, waiting):
    for uid in ("lost", "parked", "retried", "bound"):
        queue.put(waiting(uid))
    lost, parked, retried, bound = queue.pop(10)
    queue.park(parked, Wake.NODE_ADDED, "no room")
    queue.retry(retried)
    queue.remove(bound.uid)
    assert queue.reclaim() == [lost]
    assert uids(queue.pop(10)) == ["lost"]
    queue.remove("lost")
    assert queue.reclaim() == []
