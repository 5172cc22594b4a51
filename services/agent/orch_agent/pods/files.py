"""The few files of a pod on its node that are no volumes: its containers' termination messages."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

from orch.objects.pods import Container
from orch_agent.runtimes.protocol import Mount

_MESSAGE_LIMIT: Final = 4096


class PodFiles:
    """Files under `<folder>/<pod uid>/`. Without a folder (simulated nodes) there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def prepare(self, uid: str, container: Container, attempt: int) -> tuple[Mount, ...]:
        """Write what a container needs and return where it is mounted."""
        if self._folder is None:
            return ()
        return await asyncio.to_thread(self._prepare, self._folder / uid, container, attempt)

    async def termination_message(self, uid: str, container: str, attempt: int) -> str:
        """Return what a container left as its last words, "" if nothing."""
        if self._folder is None:
            return ""
        return await asyncio.to_thread(_read, self._folder / uid / _message_name(container, attempt))

    async def remove(self, uid: str) -> None:
        """Remove the pod's files."""
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder / uid, ignore_errors=True)

    async def owners(self) -> list[str]:
        """Return the uids of the pods that have files here."""
        if self._folder is None:
            return []
        return await asyncio.to_thread(_children, self._folder)

    @staticmethod
    def _prepare(folder: Path, container: Container, attempt: int) -> tuple[Mount, ...]:
        folder.mkdir(parents=True, exist_ok=True)
        message = folder / _message_name(container.name, attempt)
        message.touch()
        message.chmod(0o666)  # whatever user the container runs as writes its last words here
        target = container.termination_message_path or "/dev/termination-log"
        return (Mount(source=str(message), target=target),)


def _message_name(container: str, attempt: int) -> str:
    return f"{container}.{attempt}.message"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as source:
            return source.read(_MESSAGE_LIMIT).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _children(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
