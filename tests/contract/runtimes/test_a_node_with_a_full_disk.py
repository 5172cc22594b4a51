"""A node whose state folder is on a file system without room: its pods wait, go, and come up when there is some."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Iterator
from io import RawIOBase
from pathlib import Path
from typing import NoReturn

import pytest
from mortal_agent import NODE, Inline, World

from orch_agent.volumes.kernel import mount, unmount

pytestmark = pytest.mark.podman


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of 64 KiB."""
    mount("tmpfs", tmp_path, "tmpfs", 0, "size=64k")
    yield tmp_path
    unmount(tmp_path)


@pytest.fixture
async def world(small: Path) -> AsyncGenerator[World]:
    shown = [{"name": "key", "mountPath": "/key"}]
    spec = {
        "nodeName": NODE,
        "containers": [{"name": "web", "image": "nginx:1", "volumeMounts": shown}],
        "volumes": [{"name": "key", "configMap": {"name": "settings"}}],
    }
    meta = {"name": "web-1", "namespace": "default", "uid": "u1"}
    made = World(small, {"metadata": meta, "spec": spec, "status": {}})
    asyncio.get_running_loop().set_default_executor(Inline(made))
    watching = asyncio.create_task(made.watch())
    yield made
    await made.bury()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def fill(folder: Path) -> Path:
    """Take all the room there is; return what to remove."""
    file = folder / "filling"
    with file.open("wb", buffering=0) as output:
        for size in (4096, 1):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                write(output, b"x" * size)
    return file


def write(output: RawIOBase, chunk: bytes) -> NoReturn:
    """Write a chunk again and again until that fails."""
    while True:
        output.write(chunk)


def runs(world: World) -> bool:
    return "running" in world.container("web").get("state", {})


async def test_a_pod_waits_for_room(world: World) -> None:
    filling = fill(world.folder)
    await world.live(30)
    assert not runs(world)
    filling.unlink()
    await world.live(130, until=lambda: runs(world))
    assert runs(world)
    assert world.complaints == []


async def test_a_pod_that_runs_goes_on_and_can_be_deleted(world: World) -> None:
    await world.live(10, until=lambda: runs(world))
    assert runs(world)
    filling = fill(world.folder)
    await world.live(70)
    assert runs(world)
    assert world.started == [("web", 0)]
    world.delete(1)
    await world.live(30)
    assert await world.runtime.containers() == []
    filling.unlink()
    await world.live(130, until=lambda: world.document is None)
    assert await world.left() == []
    assert world.complaints == []
