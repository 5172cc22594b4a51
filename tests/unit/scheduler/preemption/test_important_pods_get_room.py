"""Preemption through the whole scheduler: nominations, victims and what is said of both."""

from __future__ import annotations

import asyncio

import pytest

from orch.errors import NotFoundError
from orch.objects.scheme import DISRUPTION_BUDGETS, PODS


@pytest.fixture
def present(client):
    async def there(name):
        try:
            return await client.get(PODS, "default", name)
        except NotFoundError:
            return None

    return there


@pytest.fixture
def preempted(present, eventually):
    """Wait until a pod was told to go, as its agent would see it."""

    async def wait(name):
        async def told():
            pod = await present(name)
            return pod is not None and pod.metadata.deletion_timestamp and pod

        return await eventually(told)

    return wait


@pytest.fixture
def end(client):
    """Do what an agent does when a pod's containers have stopped."""

    async def ended(name):
        pod = await client.get(PODS, "default", name)
        await client.delete(PODS, "default", name, uid=pod.metadata.uid, grace_period=0)

    return ended


async def test_a_victim_is_told_why_and_the_pod_gets_its_place(
    scheduler, client, add_node, add_pod, bound, preempted, end, eventually, events
):
    await add_node("n", cpu="1")
    await add_pod("low", cpu="1")
    await bound("low")
    high = await add_pod("high", cpu="1", priority=10)
    victim = await preempted("low")
    told = victim.status.condition("DisruptionTarget")
    assert (told.status, told.reason) == ("True", "PreemptionByScheduler")
    assert told.message == "default-scheduler: preempting to accommodate a higher priority pod"
    assert victim.metadata.deletion_grace_period_seconds == 30

    async def nominated():
        return (await client.get(PODS, "default", "high")).status.nominated_node_name

    assert await eventually(nominated) == "n"
    waiting = await client.get(PODS, "default", "high")
    assert waiting.status.condition("PodScheduled").message == "0/1 nodes are available: 1 Insufficient cpu."

    async def said():
        return await events("Preempted", "low")

    assert await eventually(said) == [f"Preempted by pod {high.metadata.uid} on node n"]
    await end("low")
    assert await bound("high") == "n"


async def test_preemptor_and_victims_keep_a_record_of_it(
    scheduler, client, add_node, add_pod, bound, preempted, end, on_record
):
    """What is decided of them later does not hide it: budgets, victims, and what the other node would have cost."""
    await add_node("n0", cpu="2")
    guard = {"selector": {"matchLabels": {"app": "guarded"}}, "minAvailable": 1}
    await client.create(
        DISRUPTION_BUDGETS, "default", {"kind": "PodDisruptionBudget", "metadata": {"name": "guard"}, "spec": guard}
    )
    await add_pod("guarded", cpu="2", labels={"app": "guarded"})
    await bound("guarded")
    await add_node("n1", cpu="2")
    await add_pod("plain", cpu="2")
    await bound("plain")
    await add_pod("high", cpu="2", priority=10)
    await preempted("plain")
    await end("plain")
    assert await bound("high") == "n1"
    of_high, of_plain = await on_record("preemptor", "high"), await on_record("victim", "plain")
    assert of_high == of_plain
    assert (of_high.name, of_high.message) == ("high", "0/2 nodes are available: 2 Insufficient cpu.")
    made = of_high.preemption
    assert (made.node, made.priority, made.candidates, made.violations) == ("n1", 10, 2, 0)
    assert [(one.name, list(one.budgets), one.violates) for one in made.victims] == [("plain", [], False)]
    assert [(one.node, one.violations) for one in made.best] == [("n1", 0), ("n0", 1)]


async def test_nobody_goes_for_a_pod_that_never_preempts(scheduler, add_node, add_pod, bound, condition, present):
    await add_node("n", cpu="1")
    await add_pod("low", cpu="1")
    await bound("low")
    await add_pod("high", cpu="1", priority=10, preemptionPolicy="Never")
    message = "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    await condition("high", message)
    assert not (await present("low")).metadata.deletion_timestamp


async def test_nobody_goes_where_that_would_not_help(scheduler, add_node, add_pod, bound, condition, present):
    await add_node("n", cpu="1")
    await add_node("other", cpu="1", labels={"disk": "ssd"})
    await add_pod("low", cpu="1", nodeSelector={"disk": "ssd"})
    await bound("low")
    await add_pod("high", cpu="2", priority=10)
    refused = "0/2 nodes are available: 2 Insufficient cpu."
    reason = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    await condition("high", f"{refused} {reason}")
    assert not (await present("low")).metadata.deletion_timestamp


async def test_the_least_important_of_all_nodes_goes(scheduler, add_node, add_pod, bound, preempted, present):
    for number in range(4):
        await add_node(f"n{number}", cpu="1")
    for number in range(4):
        await add_pod(f"p{number}", cpu="1", priority=5 - number)
        await bound(f"p{number}")
    await add_pod("high", cpu="500m", priority=100)
    await preempted("p3")
    assert not any([(await present(f"p{number}")).metadata.deletion_timestamp for number in range(3)])


async def test_room_that_was_made_is_not_taken_by_less_important_pods(
    scheduler, add_node, add_pod, bound, preempted, end, condition, present
):
    await add_node("n", cpu="1")
    await add_pod("low", cpu="1")
    await bound("low")
    await add_pod("high", cpu="1", priority=10)
    await preempted("low")
    await add_pod("thief", cpu="500m", priority=5)
    await condition("thief", "0/1 nodes are available: 1 Insufficient cpu.", exactly=False)
    await end("low")
    assert await bound("high") == "n"
    assert not (await present("thief")).spec.node_name


async def test_a_still_more_important_pod_displaces_the_nominated_one(
    scheduler, client, add_node, add_pod, bound, preempted, end, eventually
):
    await add_node("n", cpu="1")
    await add_pod("low", cpu="1")
    await bound("low")
    await add_pod("high", cpu="1", priority=10)
    await preempted("low")
    await add_pod("highest", cpu="1", priority=20)

    async def displaced():
        pods = [await client.get(PODS, "default", name) for name in ("high", "highest")]
        return [pod.status.nominated_node_name for pod in pods] == ["", "n"]

    await eventually(displaced)
    await end("low")
    assert await bound("highest") == "n"


async def test_no_more_go_than_the_waiting_need(scheduler, client, add_node, add_pod, bound, end, eventually):
    for number in range(4):
        await add_node(f"n{number}", cpu="4")
    await asyncio.gather(*(add_pod(f"low{number}", cpu="1") for number in range(16)))
    for number in range(16):
        await bound(f"low{number}")
    await asyncio.gather(*(add_pod(f"high{number}", cpu="2", priority=10) for number in range(3)))

    async def going():
        pods = await client.list(PODS, "default")
        found = [pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp]
        return len(found) >= 6 and found

    for name in await eventually(going):
        await end(name)
    for number in range(3):
        await bound(f"high{number}")
    assert len(await client.list(PODS, "default")) == 16 - 6 + 3


async def test_the_budget_of_an_application_is_spared(
    scheduler, client, add_node, add_pod, bound, preempted, eventually, present
):
    budget = {
        "metadata": {"name": "guarded"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "guarded"}}},
    }
    await client.create(DISRUPTION_BUDGETS, "default", budget)
    await eventually(lambda: _seen(scheduler, "default"))
    await add_node("a", cpu="1")
    await add_pod("guarded", cpu="1", priority=1, labels={"app": "guarded"})
    assert await bound("guarded") == "a"
    await add_node("b", cpu="1")
    await add_pod("free", cpu="1", priority=2)
    assert await bound("free") == "b"
    await add_pod("high", cpu="1", priority=10)
    await preempted("free")
    assert not (await present("guarded")).metadata.deletion_timestamp


async def _seen(scheduler, namespace):
    return scheduler._preemptor._budgets._spaces.get(namespace)


async def test_a_new_leader_keeps_the_room_that_was_made(
    api, standby, client, add_node, add_pod, bound, preempted, eventually, end
):
    """The nomination is in the pod's status; who follows the cluster has it from there."""
    await add_node("n", cpu="1")
    low = await add_pod("low", cpu="1", nodeName="n")
    await client.patch(PODS, "default", "low", {"metadata": {"finalizers": ["test/stay"]}})
    await client.delete(PODS, "default", "low", uid=low.metadata.uid)
    await add_pod("high", cpu="1", priority=10)
    await client.patch(PODS, "default", "high", {"status": {"nominatedNodeName": "n"}}, subresource="status")
    high = await client.get(PODS, "default", "high")

    async def adopted():
        found = standby._nominations.get(high.metadata.uid)
        return found is not None and found.node == "n" and found.awaited == {low.metadata.uid}

    await eventually(adopted)


@pytest.fixture
def told(standby, monkeypatch):
    """The statuses that the scheduler writes into pods."""
    written = []
    client = standby._reports._client
    patch = client.patch

    async def record(kind, namespace, name, body, **more):
        written.append((name, body["status"]))
        return await patch(kind, namespace, name, body, **more)

    monkeypatch.setattr(client, "patch", record)
    return written


async def test_nothing_is_said_of_room_that_is_there_at_once(
    scheduler, told, add_node, add_pod, bound, present, events, eventually
):
    await add_node("n", cpu="1")
    await add_pod("low", cpu="1", terminationGracePeriodSeconds=0)
    await bound("low")
    await add_pod("high", cpu="1", priority=10)
    assert await bound("high") == "n"
    assert await present("low") is None
    assert told == []

    async def said():
        return await events("FailedScheduling", "high") and await events("Preempted", "low")

    assert await eventually(said)


async def test_room_that_is_waited_for_is_told_of(scheduler, told, client, add_node, add_pod, bound, preempted, end):
    await add_node("n", cpu="1")
    await add_pod("low", cpu="1", terminationGracePeriodSeconds=5)
    await bound("low")
    await add_pod("high", cpu="1", priority=10)
    await preempted("low")
    await end("low")
    assert await bound("high") == "n"
    assert [(name, status.get("nominatedNodeName")) for name, status in told] == [("high", "n")]
