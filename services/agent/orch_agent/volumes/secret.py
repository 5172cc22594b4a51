"""Volumes of a Secret's keys, in memory (pkg/volume/secret)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orch.clock import Clock
from orch.objects.pods import Pod
from orch.objects.scheme import SECRETS
from orch.objects.volumes import KeyToPath, SecretSource, Volume
from orch_agent.volumes import atomic
from orch_agent.volumes.objects import ReferredObjects
from orch_agent.volumes.ownership import group_of
from orch_agent.volumes.payload import DEFAULT_MODE, File, files_of
from orch_agent.volumes.protocol import Ready, Reference, in_thread


async def secret_files(
    objects: ReferredObjects, reference: Reference, items: Sequence[KeyToPath], mode: int, *, optional: bool
) -> dict[str, File]:
    """Return the files of a Secret. Raises VolumeError, ApiError, UnavailableError."""
    content = await objects.content(reference, optional=optional)
    values: Mapping[str, bytes] = {} if content is None else content.values
    return files_of(values, items, mode, optional=optional, missing="references non-existent secret key")


class SecretVolumes:
    """The kind secret."""

    name = "kubernetes.io/secret"
    volatile = True

    def __init__(self, objects: ReferredObjects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is a Secret's."""
        return volume.secret is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Show the Secret as it is now."""
        source = volume.secret or SecretSource()
        mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
        reference = Reference(SECRETS.resource, pod.metadata.namespace, source.secret_name)
        files = await secret_files(self._objects, reference, source.items, mode, optional=source.optional)
        await in_thread(atomic.write, folder, files, group_of(pod), self._clock.now())
        return Ready(path=folder, read_only=True)

    async def tear_down(self, folder: Path) -> None:
        """Nothing but the folder is there."""
