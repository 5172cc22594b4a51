"""Has images ready by their pull policy; one pull of an image at a time, a few images at a time."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Callable
from typing import Final

from orch.objects.pods import Container
from orch_agent.runtimes.protocol import ImageError, Runtime

PARALLEL_PULLS: Final = 4


_REFERENCE: Final = re.compile(
    r"(?:[\w.-]+(?::\d+)?/|\[[0-9a-fA-F:]+\](?::\d+)?/)?"  # a registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][\w.+-]*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
"""What an image may be called; the grammar is github.com/distribution/reference's."""


class InvalidNameError(ImageError):
    """No image can be called so."""


class NeverPulledError(ImageError):
    """The image is not here and its policy forbids to fetch it."""


def pull_policy(container: Container) -> str:
    """Return the policy; unset means Always for the tag `latest`, else IfNotPresent."""
    if container.image_pull_policy:
        return container.image_pull_policy
    name = container.image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    _, _, tag = name.partition(":")
    return "Always" if tag in {"", "latest"} else "IfNotPresent"


class Images:
    """The images of one node."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pulls = asyncio.Semaphore(PARALLEL_PULLS)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def ensure(self, container: Container, on_pull: Callable[[], None]) -> tuple[str, bool]:
        """Return the image's id and whether it was pulled, calling `on_pull` before a pull. Raises ImageError."""
        if not _REFERENCE.fullmatch(container.image):
            problem = "couldn't parse image name: invalid reference format"
            raise InvalidNameError(f'Failed to apply default image tag "{container.image}": {problem}')
        policy = pull_policy(container)
        lock = self._locks.get(container.image)
        if lock is None:
            lock = self._locks[container.image] = asyncio.Lock()
        async with lock:
            present = await self._runtime.image_id(container.image)
            if present and policy != "Always":
                return present, False
            if policy == "Never":
                raise NeverPulledError(f'Container image "{container.image}" is not present with pull policy of Never')
            on_pull()
            async with self._pulls:
                return await self._runtime.pull(container.image), True
