"""What pods' workers need of their node's volumes, and a node whose pods have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orch.objects.pods import Container, Pod
from orch_agent.runtimes.protocol import Mount
from orch_agent.volumes.usage import VolumeUsage


class Volumes(Protocol):
    """What pods' workers need of their node's volumes."""

    async def prepare(self, pod: Pod) -> float | None:
        """Set up what the pod's containers mount. Return None when all is there, else when to try again, in seconds."""
        ...

    def update(self, pod: Pod) -> None:
        """Take in a newer state of the pod: some volumes show its labels and annotations."""
        ...

    async def mounts(self, pod: Pod, container: Container, variables: Mapping[str, str]) -> tuple[Mount, ...]:
        """Return what a container mounts of its pod's volumes. Raises ConfigurationError."""
        ...

    def path(self, uid: str, volume: str) -> Path | None:
        """Return where a volume of the pod is, None while it is not set up."""
        ...

    def images(self) -> frozenset[str]:
        """Return the ids of the images that volumes show, which must stay."""
        ...

    async def remove(self, uid: str) -> None:
        """Remove a pod's volumes; nothing if there are none. Raises VolumeError."""
        ...

    async def owners(self) -> Sequence[str]:
        """Return the uids of the pods that have volumes here, those of an earlier process included."""
        ...

    async def usage(self, uid: str) -> Sequence[VolumeUsage]:
        """Return what a pod's volumes take of the node's disk and memory."""
        ...


class NoVolumes:
    """For nodes whose pods have no files: simulated ones."""

    async def prepare(self, pod: Pod) -> float | None:
        """Have everything there."""
        _ = pod
        return None

    def update(self, pod: Pod) -> None:
        """Show nothing of it."""

    async def mounts(self, pod: Pod, container: Container, variables: Mapping[str, str]) -> tuple[Mount, ...]:
        """Mount nothing."""
        _ = pod, container, variables
        return ()

    def path(self, uid: str, volume: str) -> Path | None:
        """Have no volume."""
        _ = uid, volume

    def images(self) -> frozenset[str]:
        """Show no image."""
        return frozenset()

    async def remove(self, uid: str) -> None:
        """Have nothing to remove."""

    async def owners(self) -> Sequence[str]:
        """Know nobody."""
        return ()

    async def usage(self, uid: str) -> Sequence[VolumeUsage]:
        """Use nothing."""
        _ = uid
        return ()
