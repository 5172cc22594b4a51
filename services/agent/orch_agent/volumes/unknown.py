"""Volumes that this node cannot have."""

from __future__ import annotations

from pathlib import Path

from orch.objects.pods import Pod
from orch.objects.volumes import Volume
from orch_agent.volumes.protocol import Ready, UnprocessedError


class UnknownVolumes:
    """Volumes of a kind that no plugin knows."""

    name = "kubernetes.io/unknown"
    volatile = False

    def handles(self, volume: Volume) -> bool:
        """Return True: it is asked last."""
        _ = volume
        return True

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Say so."""
        _ = pod, folder
        raise UnprocessedError(
            f'failed to get Plugin from volumeSpec for volume "{volume.name}" err=no volume plugin matched'
        )

    async def tear_down(self, folder: Path) -> None:
        """Have nothing to let go of."""
