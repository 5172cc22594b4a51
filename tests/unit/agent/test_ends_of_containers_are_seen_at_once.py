"""Monitors of containers write how those ended; who watches the folder is told at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orch_agent.runtimes.podman.exits import watching


async def told(folder: Path, *names: str) -> list[str]:
    """Write files as a monitor does, under another name first, and return what a watch of the folder tells."""
    seen: list[str] = []
    done = asyncio.Event()

    def ended(name: str) -> None:
        seen.append(name)
        if name == names[-1]:
            done.set()

    with watching(folder, ended):
        for name in names:
            (folder / f"{name}.part").write_text("137")
            (folder / f"{name}.part").rename(folder / name)
        async with asyncio.timeout(10):
            await done.wait()
    return [name for name in seen if not name.endswith(".part")]


async def test_each_end_is_told_in_turn_and_a_missing_folder_is_made(tmp_path: Path) -> None:
    assert await told(tmp_path / "tmp" / "exits", "one", "two", "three") == ["one", "two", "three"]


async def test_a_folder_that_cannot_be_watched_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "exits").write_text("no folder")
    with watching(tmp_path / "exits", lambda _: None):
        await asyncio.sleep(0)
