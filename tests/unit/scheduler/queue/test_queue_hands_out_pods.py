import asyncio

import pytest

from orch.clock import ManualClock
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.hints import Happening
from orch_scheduler.queue import PARKED_AT_MOST, PodQueue, Waiting


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(clock):
    return PodQueue(clock)


@pytest.fixture
def waiting(demand_of, clock):
    def make(uid, *, priority=0, cpu="1", **more):
        demand = demand_of({"priority": priority}, cpu=cpu)
        since = clock.monotonic()
        return Waiting(uid=uid, namespace="d", name=uid, revision=1, demand=demand, trace=None, since=since, **more)

    return make


@pytest.fixture
def park_many(queue, waiting):
    """Park so many like pods."""

    def park(count):
        for number in range(count):
            queue.put(waiting(f"p{number:03}"))
        pods = queue.pop(count)
        for pod in pods:
            queue.park(pod, Wake.POD_REMOVED, "no", ["NodeResourcesFit"])
        return pods

    return park


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


async def test_a_parked_pod_that_is_woken_is_tried_at_once(queue, waiting):
    queue.put(waiting("a"))
    queue.park(queue.pop(1)[0], Wake.POD_REMOVED, "no")
    queue.woken(Wake.POD_REMOVED)
    assert uids(queue.pop(1)) == ["a"]


async def test_of_many_pods_that_are_woken_the_first_are_tried_and_the_others_back_off(queue, park_many, clock):
    park_many(100)
    queue.woken(Wake.POD_REMOVED)
    first = uids(queue.pop(200))
    assert first == [f"p{number:03}" for number in range(16)]
    await clock.advance(1)
    assert len(queue.pop(200)) == 84


async def test_pods_of_a_class_of_which_one_was_placed_need_not_back_off(queue, park_many):
    pods = park_many(100)
    queue.woken(Wake.POD_REMOVED)
    queue.pop(200)
    queue.encourage(pods[0].demand)
    assert len(queue.pop(200)) == 84


async def test_what_changed_decides_who_is_woken(queue, waiting, make_node):
    queue.put(waiting("small", cpu="1"))
    queue.put(waiting("large", cpu="64"))
    for pod in queue.pop(2):
        queue.park(pod, Wake.NODE_ADDED, "no", ["NodeResourcesFit"])
    queue.woken(Wake.NODE_ADDED, Happening(node=make_node("n", cpu="8")))
    assert uids(queue.pop(2)) == ["small"]


async def test_a_gated_pod_waits_aside_until_its_gates_are_gone(queue, waiting, clock):
    queue.put(waiting("a", gated=True))
    assert queue.pop(1) == []
    queue.woken(Wake.NODE_ADDED)
    await clock.advance(PARKED_AT_MOST + 1)
    assert queue.pop(1) == []
    assert len(queue) == 1
    queue.put(waiting("a"))
    (pod,) = queue.pop(1)
    assert pod.since == PARKED_AT_MOST + 1
    queue.put(waiting("b", gated=True))
    queue.remove("b")
    assert "b" not in queue


async def test_a_refused_pod_stands_behind_those_that_came_meanwhile(queue, waiting, clock):
    queue.put(waiting("a"))
    queue.park(queue.pop(1)[0], Wake.NODE_ADDED, "no")
    await clock.advance(1)
    queue.put(waiting("b"))
    await clock.advance(1)
    queue.woken(Wake.NODE_ADDED)
    assert uids(queue.pop(2)) == ["a", "b"]
    await clock.advance(1)
    queue.retry(queue.get("a"))
    queue.put(waiting("c"))
    await clock.advance(5)
    assert uids(queue.pop(3)) == ["c", "a"]


async def test_the_members_of_a_group_are_taken_from_wherever_they_wait(queue, waiting, clock):
    for uid in "abc":
        queue.put(waiting(uid, group="d/g"))
    queue.put(waiting("gated", group="d/g", gated=True))
    queue.put(waiting("other"))
    handed = {pod.uid: pod for pod in queue.pop(3)}
    queue.park(handed["a"], Wake.NODE_ADDED, "no")
    queue.retry(handed["b"])
    members = queue.members("d/g")
    assert uids(members) == ["a", "b", "c"]
    queue.take(members)
    assert uids(queue.pop(9)) == ["other"]
    assert all(queue.handed_out(uid) for uid in "abc")
    await clock.advance(PARKED_AT_MOST)
    assert queue.pop(9) == []


async def test_nothing_is_kept_of_pods_that_were_removed(queue, waiting):
    for round_ in range(50):
        for number in range(20):
            queue.put(waiting(f"{round_}-{number}"))
        for pod in queue.pop(5):
            queue.retry(pod)
        for number in range(20):
            queue.remove(f"{round_}-{number}")
    assert len(queue) == 0
    assert len(queue._active._heap) <= 128
    assert len(queue._backing_off._heap) <= 128
    kept = [queue._classes, queue._discouraged, queue._groups, queue._handed_out]
    assert not any(kept)


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
