"""Volumes of the pod's own fields (pkg/volume/downwardapi, pkg/fieldpath)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from orch.clock import Clock
from orch.objects.pods import Container, Pod
from orch.objects.volumes import DownwardItem, DownwardSource, Volume
from orch.quoting import quote
from orch_agent.pods.resources import resource_field
from orch_agent.volumes import atomic
from orch_agent.volumes.ownership import group_of
from orch_agent.volumes.payload import DEFAULT_MODE, File
from orch_agent.volumes.protocol import NodeFacts, Ready, VolumeError, in_thread

_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['(?P<key>.*)'\]")


def downward_files(pod: Pod, items: Sequence[DownwardItem], mode: int, facts: NodeFacts) -> dict[str, File]:
    """Return the files that show the pod's fields. Raises VolumeError."""
    files: dict[str, File] = {}
    for item in items:
        if item.field_ref is not None:
            text = _field(pod, item.field_ref.field_path)
        elif item.resource_field_ref is not None:
            wanted = item.resource_field_ref
            container = _container(pod, wanted.container_name)
            try:
                text = resource_field(container, wanted.resource, wanted.divisor, facts.allocatable)
            except ValueError as error:
                raise VolumeError(str(error)) from error
        else:
            text = ""
        files[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
    return files


class DownwardVolumes:
    """The kind downwardAPI."""

    name = "kubernetes.io/downward-api"
    volatile = True

    def __init__(self, facts: NodeFacts, clock: Clock) -> None:
        self._facts = facts
        self._clock = clock

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume shows the pod's fields."""
        return volume.downward_api is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Show the pod's fields as they are now."""
        source = volume.downward_api or DownwardSource()
        mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
        files = downward_files(pod, source.items, mode, self._facts)
        await in_thread(atomic.write, folder, files, group_of(pod), self._clock.now())
        return Ready(path=folder, read_only=True)

    async def tear_down(self, folder: Path) -> None:
        """Nothing but the folder is there."""


def _field(pod: Pod, path: str) -> str:
    meta = pod.metadata
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        values = meta.labels if subscript.group(1) == "labels" else meta.annotations
        return values.get(subscript.group("key"), "")
    match path:
        case "metadata.labels":
            return _lines(meta.labels)
        case "metadata.annotations":
            return _lines(meta.annotations)
        case "metadata.name":
            return meta.name
        case "metadata.namespace":
            return meta.namespace
        case "metadata.uid":
            return meta.uid
        case _:
            raise VolumeError(f"unsupported fieldPath: {path}")


def _lines(values: Mapping[str, str]) -> str:
    """Return key="value" lines, the values quoted as Go does, without a newline at the end."""
    return "\n".join(f"{key}={quote(values[key])}" for key in sorted(values))


def _container(pod: Pod, name: str) -> Container:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == name:
            return container
    raise VolumeError(f"container {name} not found")
