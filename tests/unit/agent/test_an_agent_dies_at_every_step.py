"""Wherever in a pod's life the agent dies, its successor goes on: nothing runs twice, is ended, or stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mortal_agent import NODE, Inline, World

Story = Callable[[World], Awaitable[None]]


def pod() -> dict[str, Any]:
    """Return a pod with an init container, a sidecar, a container that fails again and again, and volumes."""
    shown = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "key", "mountPath": "/key"}]
    part = {"name": "settings", "mountPath": "/settings", "subPath": "color"}
    containers = [
        {"name": "web", "volumeMounts": [*shown, part], "env": [{"name": "SIMULATED_STOP_SECONDS", "value": "1"}]},
        {"name": "flaky", "env": [{"name": "SIMULATED_RUN_SECONDS", "value": "2"}, _exit(1)]},
    ]
    first = [{"name": "setup"}, {"name": "side", "restartPolicy": "Always", "volumeMounts": shown}]
    for each in (*containers, *first):
        each["image"] = "nginx:1"
    volumes = [
        {"name": "scratch", "emptyDir": {"medium": "Memory"}},
        {"name": "key", "secret": {"secretName": "key"}},
        {"name": "settings", "configMap": {"name": "settings"}},
    ]
    return {
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u1"},
        "spec": {"nodeName": NODE, "containers": containers, "initContainers": first, "volumes": volumes},
        "status": {},
    }


def _exit(code: int) -> dict[str, str]:
    return {"name": "SIMULATED_EXIT_CODE", "value": str(code)}


@asynccontextmanager
async def played(world: World) -> AsyncGenerator[World]:
    asyncio.get_running_loop().set_default_executor(Inline(world))
    watching = asyncio.create_task(world.watch())
    yield world
    await world.bury()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def runs_and_is_deleted(world: World) -> None:
    """The pod comes up, one of its containers fails and is restarted, and it is deleted."""
    await world.live(30, until=lambda: world.container("flaky").get("restartCount", 0) >= 1)
    assert world.document is not None
    assert world.document["status"]["phase"] == "Running"
    assert "running" in world.container("web")["state"]
    await world.live(3)
    world.delete(5)
    await world.live(90, until=lambda: world.document is None)
    assert world.document is None, "the pod stays"


async def is_gone_when_the_agent_returns(world: World) -> None:
    """The pod is deleted by force while no agent is there."""
    await world.live(6, until=lambda: world.deaths > 0)
    await world.bury()
    world.forget()


async def play(folder: Path, story: Story, dies_at: int) -> World:
    """Play a story in which the agent dies at one step; nothing may be left in the end."""
    async with played(World(folder, pod(), dies_at=dies_at)) as world:
        await story(world)
        left = await world.left()
        for _ in range(30):
            if not left:
                break
            await world.live(1)
            left = await world.left()
        where = world.steps[dies_at - 1] if 0 < dies_at <= len(world.steps) else "no step"
        assert (world.complaints, left) == ([], []), f"died before step {dies_at}, {where}"
        starts = [name for name, _ in world.started]
        assert max(map(starts.count, ("setup", "side", "web"))) <= 1, f"step {dies_at}, {where}: {starts}"
        assert len(set(world.started)) == len(world.started), f"step {dies_at}, {where}: {world.started}"
    return world


@pytest.mark.parametrize("story", [runs_and_is_deleted, is_gone_when_the_agent_returns])
async def test_its_successor_goes_on(tmp_path: Path, story: Story) -> None:
    whole = await play(tmp_path / "whole", story, 0)
    for dies_at in range(1, len(whole.steps) + 1):
        world = await play(tmp_path / str(dies_at), story, dies_at)
        assert world.deaths == 1
