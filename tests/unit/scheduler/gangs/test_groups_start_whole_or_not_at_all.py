"""Pod groups through the whole scheduler, with their definition as it is shipped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from orch_scheduler_fixtures import working

from orch.objects.meta import Object
from orch.objects.scheduling import POD_GROUP_LABEL
from orch.objects.scheme import POD_GROUPS, PODS, Kind

DEFINITION = Path(__file__).parents[4] / "deploy/crds/scheduling.x-k8s.io_podgroups.yaml"
DEFINITIONS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False, Object)


@pytest.fixture
async def scheduler(standby, client, eventually):
    """A scheduler that leads a cluster in which pod groups are defined."""
    await client.create(DEFINITIONS, "", yaml.safe_load(DEFINITION.read_text()))

    async def served():
        return any(one.resource == "podgroups" for one in await client.kinds())

    await eventually(served)
    async with working(standby.lead()):
        yield standby


@pytest.fixture
def add_group(client):
    async def add(name, members, **spec):
        body = {
            "apiVersion": POD_GROUPS.api_version,
            "kind": "PodGroup",
            "metadata": {"name": name},
            "spec": {"minMember": members, **spec},
        }
        return await client.create(POD_GROUPS, "default", body)

    return add


@pytest.fixture
def add_member(add_pod):
    async def add(name, group="g", **more):
        return await add_pod(name, labels={POD_GROUP_LABEL: group}, **more)

    return add


@pytest.fixture
def on_nodes(client):
    async def names():
        return sorted(pod.metadata.name for pod in await client.list(PODS, "default") if pod.spec.node_name)

    return names


@pytest.fixture
def group_says(client, eventually):
    async def wait(phase, text, name="g"):
        async def said():
            status = (await client.get(POD_GROUPS, "default", name)).status
            return status.phase == phase and any(text in each.message for each in status.conditions) and status

        return await eventually(said)

    return wait


async def test_a_group_waits_until_it_is_complete(
    scheduler, add_node, add_group, add_member, bound, condition, on_nodes, group_says
):
    await add_node("n")
    await add_group("g", 3)
    await add_member("a")
    await add_member("b")
    await condition("b", "pod group default/g is not complete: 2 of at least 3 pods are there")
    await group_says("Pending", "2 of at least 3 pods are there")
    assert await on_nodes() == []
    await add_member("c")
    for name in "abc":
        await bound(name)
    status = await group_says("Scheduled", "3 pods are on nodes")
    assert status.scheduled == 3


async def test_nothing_is_bound_of_a_group_that_fits_in_part(
    scheduler, add_node, add_group, add_member, add_pod, bound, condition, on_nodes, group_says
):
    await add_node("n", cpu="2")
    await add_group("g", 3)
    for name in "abc":
        await add_member(name, cpu="1")
    refused = "only 2 of at least 3 pods of group default/g fit: 0/1 nodes are available: 1 Insufficient cpu."
    for name in "abc":
        await condition(name, refused)
    await group_says("Pending", "only 2 of at least 3")
    await add_pod("other", cpu="2")  # what the group does not use is there for others
    await bound("other")
    assert await on_nodes() == ["other"]
    await add_node("m", cpu="4")
    for name in "abc":
        assert await bound(name) == "m"


async def test_more_members_than_needed_follow_one_by_one(scheduler, add_node, add_group, add_member, bound):
    await add_node("n", cpu="4")
    await add_group("g", 2)
    await asyncio.gather(*(add_member(f"p{number}", cpu="1") for number in range(2)))
    await bound("p0")
    await bound("p1")
    await add_member("late", cpu="1")
    await bound("late")


async def test_pods_of_a_group_that_does_not_exist_wait_for_it(
    scheduler, add_node, add_group, add_member, bound, condition, on_nodes
):
    await add_node("n")
    await add_member("a")
    await condition("a", "waiting for pod group default/g, which does not exist")
    assert await on_nodes() == []
    await add_group("g", 1)
    await bound("a")


async def test_room_is_made_for_all_of_a_group_or_for_none(
    scheduler, client, add_node, add_group, add_member, add_pod, bound, condition, eventually, on_nodes, on_record
):
    for number in range(2):
        await add_node(f"n{number}", cpu="1")
    for number in range(2):
        await add_pod(f"low{number}", cpu="1")
        await bound(f"low{number}")
    await add_group("large", 3)
    for number in range(3):
        await add_member(f"l{number}", "large", cpu="1", priority=10)
    await condition("l0", "only 0 of at least 3 pods", exactly=False)
    assert not any(pod.metadata.deletion_timestamp for pod in await client.list(PODS, "default"))
    await add_group("g", 2)
    await asyncio.gather(*(add_member(f"p{number}", cpu="1", priority=10) for number in range(2)))

    async def going():
        pods = await client.list(PODS, "default")
        found = [pod for pod in pods if pod.metadata.deletion_timestamp]
        return len(found) == 2 and found

    first, second = await eventually(going)
    assert {first.metadata.name, second.metadata.name} == {"low0", "low1"}
    for number in range(2):
        made = await on_record("preemptor", f"p{number}")
        (victim,) = made.preemption.victims
        assert made.message.startswith("only 0 of at least 2 pods of group default/g fit")
        assert await on_record("victim", victim.name) == made
    await client.delete(PODS, "default", first.metadata.name, uid=first.metadata.uid, grace_period=0)
    await condition("p0", "only 1 of at least 2 pods", exactly=False)
    assert await on_nodes() == [second.metadata.name]
    await client.delete(PODS, "default", second.metadata.name, uid=second.metadata.uid, grace_period=0)
    assert {await bound("p0"), await bound("p1")} == {"n0", "n1"}


async def test_without_the_definition_the_label_means_nothing(standby, add_node, add_pod, bound, events):
    async with working(standby.lead()):
        await add_node("n")
        await add_pod("a", labels={POD_GROUP_LABEL: "g"})
        await bound("a")
        assert await events("FailedScheduling") == []


async def test_groups_count_from_the_moment_they_are_defined(
    standby, client, eventually, add_node, add_group, add_member, condition, on_nodes
):
    async with working(standby.lead()):
        await add_node("n")
        await add_member("early", "none")

        async def placed():
            return await on_nodes() == ["early"]

        await eventually(placed)
        await client.create(DEFINITIONS, "", yaml.safe_load(DEFINITION.read_text()))

        async def served():
            return any(one.resource == "podgroups" for one in await client.kinds())

        await eventually(served)
        await add_group("g", 2)
        await add_member("a")
        await condition("a", "pod group default/g is not complete: 1 of at least 2 pods are there")
        assert await on_nodes() == ["early"]


async def test_members_that_are_on_their_way_count_and_are_not_planned_again(
    scheduler, monkeypatch, add_node, add_group, add_member, bound, eventually
):
    await add_node("n", cpu="8")
    await add_group("g", 2)
    binding, go_on, asked = scheduler._binder._client, asyncio.Event(), []
    send = binding.bind

    async def slowly(bindings):
        asked.extend(one.name for one in bindings)
        await go_on.wait()
        return await send(bindings)

    monkeypatch.setattr(binding, "bind", slowly)
    await asyncio.gather(*(add_member(name) for name in "ab"))

    async def sent(count):
        return len(asked) == count

    await eventually(lambda: sent(2))
    await add_member("c")
    await eventually(lambda: sent(3))
    go_on.set()
    for name in "abc":
        assert await bound(name) == "n"
    assert sorted(asked) == ["a", "b", "c"]
