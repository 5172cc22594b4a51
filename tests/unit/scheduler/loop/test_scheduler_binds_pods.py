"""The whole scheduler over an api in memory."""

from __future__ import annotations

import asyncio
import contextlib

from orch_scheduler_fixtures import working

from orch.objects.scheme import EVENTS, NODES, PODS
from orch_pb.v1.decision_pb2 import SchedulingDecision

NO_VICTIMS = " preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
NOT_HELPFUL = " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


async def test_a_pod_is_bound_and_the_event_says_so(scheduler, client, add_node, add_pod, bound, eventually):
    await add_node("n")
    await add_pod("p")
    assert await bound("p") == "n"
    pod = await client.get(PODS, "default", "p")
    assert pod.status.condition("PodScheduled").status == "True"

    async def events():
        return [event async for event in _events(client)]

    async def scheduled():
        return [text for reason, text in await events() if reason == "Scheduled"]

    assert await eventually(scheduled) == ["Successfully assigned default/p to n"]


async def _events(client):
    for item in await client.list(EVENTS.with_view(_EventView), "default"):
        yield item.reason, item.message


class _EventView(EVENTS.view, frozen=True):
    reason: str = ""
    message: str = ""


async def test_a_pod_that_fits_nowhere_says_why_and_is_bound_when_a_node_comes(
    scheduler, add_node, add_pod, bound, condition
):
    await add_node("small", cpu="1")
    await add_pod("p", cpu="2")
    await condition("p", "0/1 nodes are available: 1 Insufficient cpu." + NOT_HELPFUL)
    await add_node("big", cpu="8")
    assert await bound("p") == "big"


async def test_without_nodes(scheduler, add_pod, condition):
    await add_pod("p")
    await condition("p", "no nodes available to schedule pods")


async def test_room_that_a_deleted_pod_leaves_is_used(scheduler, client, add_node, add_pod, bound, condition):
    await add_node("n", cpu="1")
    first = await add_pod("first", cpu="800m")
    await bound("first")
    await add_pod("second", cpu="800m")
    await condition("second", "0/1 nodes are available: 1 Insufficient cpu." + NO_VICTIMS)
    await client.delete(PODS, "default", "first", uid=first.metadata.uid, grace_period=0)
    assert await bound("second") == "n"


async def test_uncordoning_a_node_helps(scheduler, client, add_node, add_pod, bound, condition):
    await add_node("n", unschedulable=True)
    await add_pod("p")
    await condition("p", "0/1 nodes are available: 1 node(s) were unschedulable." + NOT_HELPFUL)
    await client.patch(NODES, "", "n", {"spec": {"unschedulable": None}})
    assert await bound("p") == "n"


async def test_labelling_a_node_helps(scheduler, client, add_node, add_pod, bound, condition):
    await add_node("n")
    await add_pod("p", nodeSelector={"disk": "ssd"})
    await condition("p", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + NOT_HELPFUL)
    await client.patch(NODES, "", "n", {"metadata": {"labels": {"disk": "ssd"}}})
    assert await bound("p") == "n"


async def test_a_finished_pod_leaves_its_room(scheduler, client, add_node, add_pod, bound):
    await add_node("n", cpu="1")
    await add_pod("first", cpu="800m", restartPolicy="Never")
    await bound("first")
    await client.patch(PODS, "default", "first", {"status": {"phase": "Succeeded"}}, subresource="status")
    await add_pod("second", cpu="800m")
    assert await bound("second") == "n"


async def test_pods_of_another_scheduler_are_left_alone(scheduler, client, add_node, add_pod, bound):
    await add_node("n")
    await add_pod("theirs", schedulerName="other")
    await add_pod("ours")
    await bound("ours")
    assert (await client.get(PODS, "default", "theirs")).spec.node_name == ""


async def test_many_pods_are_spread_and_none_is_bound_twice(scheduler, client, add_node, add_pod, eventually):
    for number in range(4):
        await add_node(f"n{number}", cpu="10")
    await asyncio.gather(*(add_pod(f"p{number}") for number in range(100)))

    async def all_bound():
        pods = await client.list(PODS, "default")
        return len(pods) == 100 and all(pod.spec.node_name for pod in pods) and pods

    counts = {}
    for pod in await eventually(all_bound):
        counts[pod.spec.node_name] = counts.get(pod.spec.node_name, 0) + 1
    assert all(abs(count - 25) <= 2 for count in counts.values())


async def test_a_decision_is_on_the_bus(scheduler, api, add_node, add_pod):
    bus = api.bus("orch:admin")
    await add_node("n", cpu="1")
    async with contextlib.aclosing(bus.follow("DECISIONS", ["orch.decisions.scheduler.>"])) as messages:
        await anext(messages)
        await anext(messages)
        await add_pod("p", cpu="2")
        async with asyncio.timeout(10):
            decision = SchedulingDecision.FromString((await anext(messages)).data)
    assert (decision.name, decision.node, decision.nodes) == ("p", "", 1)
    assert [(each.rule, each.reason, each.nodes) for each in decision.refusals] == [
        ("NodeResourcesFit", "Insufficient cpu", 1)
    ]


async def test_a_pod_that_another_bound_meanwhile_is_let_go(scheduler, client, add_node, add_pod, bound):
    await add_node("n")
    await add_pod("fixed", nodeName="elsewhere")
    await add_pod("p")
    assert await bound("p") == "n"
    assert (await client.get(PODS, "default", "fixed")).spec.node_name == "elsewhere"


async def test_what_the_end_of_a_term_interrupts_is_done_in_the_next(standby, monkeypatch, add_node, add_pod, bound):
    """The pod is in no queue while its placement is on its way to the api."""
    await add_node("n", cpu="1")
    on_the_way = asyncio.Event()

    async def hang(*_):
        on_the_way.set()
        await asyncio.get_running_loop().create_future()

    with monkeypatch.context() as patched:
        patched.setattr(standby._binder._client, "bind", hang)
        async with working(standby.lead()):
            await add_pod("p", cpu="1")
            async with asyncio.timeout(10):
                await on_the_way.wait()
    async with working(standby.lead()):
        assert await bound("p") == "n"


async def test_a_pod_waits_until_its_neighbour_is_there(scheduler, client, add_node, add_pod, bound, condition):
    await add_node("n", labels={"kubernetes.io/hostname": "n"})
    term = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    await add_pod("web", affinity=affinity)
    await condition("web", "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.", exactly=False)
    await add_pod("db")
    await bound("db")
    await client.patch(PODS, "default", "db", {"metadata": {"labels": {"app": "db"}}})
    assert await bound("web") == "n"
