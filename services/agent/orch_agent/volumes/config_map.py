"""Volumes of a ConfigMap's keys (pkg/volume/configmap)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orch.clock import Clock
from orch.objects.pods import Pod
from orch.objects.scheme import CONFIG_MAPS
from orch.objects.volumes import ConfigMapSource, Volume
from orch_agent.volumes import atomic
from orch_agent.volumes.objects import ReferredObjects
from orch_agent.volumes.ownership import group_of
from orch_agent.volumes.payload import DEFAULT_MODE, File, files_of
from orch_agent.volumes.protocol import Ready, Reference, in_thread


async def config_map_files(
    objects: ReferredObjects, namespace: str, source: ConfigMapSource, mode: int
) -> dict[str, File]:
    """Return the files of a ConfigMap. Raises VolumeError, ApiError, UnavailableError."""
    reference = Reference(CONFIG_MAPS.resource, namespace, source.name)
    content = await objects.content(reference, optional=source.optional)
    values: Mapping[str, bytes] = {} if content is None else content.values
    absent = "configmap references non-existent config key"
    return files_of(values, source.items, mode, optional=source.optional, missing=absent)


class ConfigMapVolumes:
    """The kind configMap."""

    name = "kubernetes.io/configmap"
    volatile = False

    def __init__(self, objects: ReferredObjects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is a ConfigMap's."""
        return volume.config_map is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Show the ConfigMap as it is now."""
        source = volume.config_map or ConfigMapSource()
        mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
        files = await config_map_files(self._objects, pod.metadata.namespace, source, mode)
        await in_thread(atomic.write, folder, files, group_of(pod), self._clock.now())
        return Ready(path=folder, read_only=True)

    async def tear_down(self, folder: Path) -> None:
        """Nothing but the folder is there."""
