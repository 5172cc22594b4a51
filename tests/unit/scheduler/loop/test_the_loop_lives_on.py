"""Whatever a pod asks for and whatever the api answers, the loop goes on and no room is given away twice."""

from __future__ import annotations

import asyncio

import pytest
from overcommitment import overcommitted

from orch.errors import ConflictError, ServiceUnavailableError, UnavailableError
from orch.objects.scheme import NODES, PODS
from orch_pb.v1 import rpc_pb2
from orch_scheduler.binder import FAILURES, RETRIES


async def test_a_pod_that_no_rule_can_judge_harms_no_other(
    scheduler, monkeypatch, add_node, add_pod, bound, condition, eventually, events
):
    await add_node("n", cpu="40")
    engine = scheduler._deciders.by_name["default-scheduler"].engine
    plan = engine.plan

    def odd(snapshot, demands, preferred=()):
        if any(demand.priority == 13 for demand in demands):
            raise ZeroDivisionError("by the pod's bad luck")
        return plan(snapshot, demands, preferred)

    monkeypatch.setattr(engine, "plan", odd)
    names = [f"p{number}" for number in range(20)]
    await asyncio.gather(add_pod("odd", priority=13), *(add_pod(name) for name in names))
    for name in names:
        await bound(name)
    found = await condition("odd", "the pod cannot be judged: ZeroDivisionError: by the pod's bad luck")
    assert found.reason == "SchedulerError"
    monkeypatch.setattr(engine, "plan", plan)
    assert await bound("odd") == "n"


@pytest.mark.parametrize("cpu", ["1" + "0" * 30, "9E", "100000000"])
async def test_absurd_requests_are_refused_like_any_that_do_not_fit(
    scheduler, add_node, add_pod, bound, condition, cpu
):
    await add_node("n", cpu="4")
    await add_pod("absurd", cpu=cpu)
    await add_pod("plain")
    await bound("plain")
    await condition("absurd", "", exactly=False)


async def test_a_node_with_absurd_amounts_is_no_place_for_pods(scheduler, client, add_node, add_pod, bound):
    await add_node("odd")
    for amounts in ({"cpu": "1" + "0" * 30}, {"cpu": "0", "pods": "0"}):
        await client.patch(
            NODES, "", "odd", {"status": {"allocatable": amounts, "capacity": amounts}}, subresource="status"
        )
    await add_node("n", cpu="4")
    await add_pod("p")
    assert await bound("p") == "n"


async def test_an_answer_that_is_lost_leaves_the_room_taken_until_it_is_known(
    scheduler, client, monkeypatch, add_node, add_pod, bound, condition
):
    """The request is carried out, but nobody says so: the pod is bound once, and nobody else gets its room."""
    await add_node("n", cpu="1")
    binding = scheduler._binder._client
    send, lost = binding.bind, []
    before = RETRIES._value.get()

    async def deaf(bindings):
        replies = await send(bindings)
        if not lost:
            lost.append(replies)
            raise UnavailableError("no answer")
        return replies

    monkeypatch.setattr(binding, "bind", deaf)
    await add_pod("p", cpu="1")
    await add_pod("other", cpu="1")
    await condition("other", "0/1 nodes are available: 1 Insufficient cpu.", exactly=False)
    assert await bound("p") == "n"
    assert lost
    assert RETRIES._value.get() == before + 1
    assert overcommitted(await client.list(PODS, "default"), await client.list(NODES)) == []


async def test_what_the_api_cannot_do_now_is_asked_again(scheduler, monkeypatch, add_node, add_pod, bound):
    await add_node("n", cpu="1")
    binding = scheduler._binder._client
    send, refused = binding.bind, []

    async def away(bindings):
        if not refused:
            refused.append(True)
            status = ServiceUnavailableError("etcd is away").encode()
            return [rpc_pb2.WriteReply(status=status) for _ in bindings]
        return await send(bindings)

    monkeypatch.setattr(binding, "bind", away)
    await add_pod("p", cpu="1")
    assert await bound("p") == "n"
    assert refused


async def test_a_refused_binding_gives_the_room_back(scheduler, monkeypatch, add_node, add_pod, bound):
    await add_node("n", cpu="1")
    binding = scheduler._binder._client
    send, refused = binding.bind, []

    async def once(bindings):
        if not refused:
            refused.append(bindings[0].name)
            conflict = ConflictError.of("pods/binding", "", bindings[0].name, "no").encode()
            return [rpc_pb2.WriteReply(status=conflict) for _ in bindings]
        return await send(bindings)

    monkeypatch.setattr(binding, "bind", once)
    await add_pod("p", cpu="1")
    await bound("p")
    assert refused == ["p"]


async def test_a_gated_pod_is_left_alone_until_its_gates_are_gone(scheduler, client, add_node, add_pod, bound, events):
    await add_node("n")
    await add_pod("gated", schedulingGates=[{"name": "example.com/a"}])
    await add_pod("plain")
    await bound("plain")
    gated = await client.get(PODS, "default", "gated")
    told = gated.status.condition("PodScheduled")
    assert (told.status, told.reason) == ("False", "SchedulingGated")
    assert not gated.spec.node_name
    assert await events("FailedScheduling") == []
    assert len(scheduler._queue) == 1
    await client.patch(PODS, "default", "gated", {"spec": {"schedulingGates": None}})
    assert await bound("gated") == "n"


async def test_slices_get_shorter_when_pods_are_hard_to_place(scheduler):
    most = scheduler._limit
    scheduler._pace(0.005)
    assert scheduler._limit == 8
    for _ in range(10):
        scheduler._pace(1e-6)
    assert scheduler._limit == most


async def test_what_was_decided_in_a_past_turn_is_not_sent_in_the_next(
    scheduler, monkeypatch, add_node, add_pod, bound
):
    """As when a pod waited for its volumes while another scheduler had the turn."""
    await add_node("n", cpu="1")
    binder = scheduler._binder
    turns = iter((1, 2))
    monkeypatch.setattr(scheduler, "_turn_number", lambda: next(turns, 3))
    monkeypatch.setattr(binder, "_turn", scheduler._turn_number)
    refused = FAILURES.labels("Conflict")._value.get()
    await add_pod("p", cpu="1")
    assert await bound("p") == "n"
    assert FAILURES.labels("Conflict")._value.get() == refused + 1
