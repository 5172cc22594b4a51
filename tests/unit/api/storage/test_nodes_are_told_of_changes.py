"""Nodes hear that an object which their pods' volumes show has changed; others do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orch.bus import subjects
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import permissions_of
from orch.errors import BusError
from orch_api.storage.cache import CacheEvent, ObjectCache
from orch_api.storage.notices import Notices
from orch_pb.v1.node_pb2 import ObjectsChanged

VOLUMES = [
    {"name": "a", "configMap": {"name": "app"}},
    {"name": "b", "secret": {"secretName": "keys"}},
    {"name": "c", "projected": {"sources": [{"configMap": {"name": "ca"}}, {"secret": {"name": "more"}}]}},
]


class Ears:
    """What each node hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        self.messages = 0

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        assert reply == ""
        self.messages += 1
        node = subject.removeprefix("orch.nodes.").removesuffix(".changes")
        changed = ObjectsChanged.FromString(data).objects
        assert all(each.revision for each in changed)
        self.heard += [(node, each.resource, f"{each.namespace}/{each.name}") for each in changed]


@asynccontextmanager
async def following(cache: ObjectCache, ears: Any) -> AsyncGenerator[Any]:
    """Feed what changes to the notices; yield a function that waits until a version was fed."""
    notices = Notices(ears, cache.select("", "pods"))
    tap = cache.tap(1000)
    seen: list[int] = []

    async def feed() -> None:
        async for batch in tap:
            events: list[CacheEvent] = list(batch)
            await notices.follow(events)
            seen.extend(event.item.version for event in events)

    async def fed(version: int) -> None:
        async with asyncio.timeout(5):
            while version not in seen:  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0)

    task = asyncio.create_task(feed())
    try:
        yield fed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        tap.close()


async def test_the_nodes_of_its_pods_are_told(cache: ObjectCache, objects: Any) -> None:
    ears = Ears()
    await cache.wait_for(await objects.put("early", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES}))
    async with following(cache, ears) as fed:
        await objects.put("late", resource="pods", spec={"nodeName": "n2", "volumes": VOLUMES[:1]})
        await objects.put("unbound", resource="pods", spec={"volumes": VOLUMES})
        await objects.put("app")
        await objects.put("keys", resource="secrets")
        await objects.put("app", namespace="other")
        await objects.put("keys")  # a config map of a secret's name
        await fed(await objects.put("ca"))
        assert ears.heard == [
            ("n1", "configmaps", "default/app"),
            ("n2", "configmaps", "default/app"),
            ("n1", "secrets", "default/keys"),
            ("n1", "configmaps", "default/ca"),
        ]


async def test_a_pod_counts_from_its_binding_to_its_end(cache: ObjectCache, objects: Any) -> None:
    ears = Ears()
    async with following(cache, ears) as fed:
        await objects.put("web", resource="pods", spec={"volumes": VOLUMES})
        await objects.put("app")
        await objects.put("web", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES})
        await objects.put(
            "web", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES}, status={"phase": "Running"}
        )
        await objects.put("twin", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES[:1]})
        await fed(await objects.put("app"))
        assert ears.heard == [("n1", "configmaps", "default/app")]
        await objects.remove("web", resource="pods")
        await objects.put("app")
        await fed(await objects.put("keys", resource="secrets"))
        assert ears.heard[1:] == [("n1", "configmaps", "default/app")]
        await objects.remove("twin", resource="pods")
        await fed(await objects.remove("app"))
        assert len(ears.heard) == 2


async def test_a_deletion_is_a_change(cache: ObjectCache, objects: Any) -> None:
    ears = Ears()
    await objects.put("app")
    async with following(cache, ears) as fed:
        await objects.put("web", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES})
        await fed(await objects.remove("app"))
        assert ears.heard[-1] == ("n1", "configmaps", "default/app")


async def test_a_pod_that_is_no_pod_stops_nobody(cache: ObjectCache, objects: Any) -> None:
    ears = Ears()
    async with following(cache, ears) as fed:
        await objects.put("odd", resource="pods", spec={"nodeName": "n1", "volumes": [{"name": 7, "configMap": "x"}]})
        await objects.put("web", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES})
        await objects.remove("odd", resource="pods")
        await fed(await objects.put("app"))
        assert ears.heard == [("n1", "configmaps", "default/app")]


async def test_what_may_have_changed_unseen_is_told_once_a_node(cache: ObjectCache, objects: Any) -> None:
    ears = Ears()
    await objects.put("web", resource="pods", spec={"nodeName": "n1", "volumes": VOLUMES})
    await objects.put("app")
    await cache.wait_for(await objects.put("keys", resource="secrets"))
    notices = Notices(ears, cache.select("", "pods"))  # type: ignore[arg-type] - publish is all that it does
    await notices.tell([*cache.select("", "configmaps"), *cache.select("", "secrets"), *cache.select("", "pods")])
    assert (ears.messages, len(ears.heard)) == (1, 2)


async def test_a_node_hears_its_own_alone() -> None:
    broker = MemoryBroker(permissions=permissions_of)
    node = broker.connect("system:node:n1")
    async with node.subscribe(subjects.node_changes("n1")):
        pass
    for foreign in (subjects.node_changes("n2"), "orch.nodes.*.changes"):
        with pytest.raises(BusError):
            async with node.subscribe(foreign):
                pass
    with pytest.raises(BusError):
        await node.publish(subjects.node_changes("n1"), b"")
    await node.close()
