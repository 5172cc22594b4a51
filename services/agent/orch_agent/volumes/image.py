"""Volumes of an image's content, read-only and never executable (pkg/volume/image)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from orch.objects.pods import Container, Pod
from orch.objects.volumes import ImageSource, Volume
from orch_agent.pods.pull_secrets import Tell
from orch_agent.runtimes.protocol import ContainerError, FoundImage, ImageError
from orch_agent.volumes.mounts import Mounts
from orch_agent.volumes.protocol import Outlet, Ready, VolumeError, in_thread


class ImageStore(Protocol):
    """The images of the node."""

    async def ensure(self, pod: Pod, container: Container, tell: Tell) -> FoundImage:
        """Have the image of a container by its pull policy. Raises ImageError."""
        ...


class ImageFinder(Protocol):
    """A runtime that knows its images."""

    async def find_image(self, image: str) -> FoundImage | None:
        """Return an image that is on the node. Raises ImageError."""
        ...


@runtime_checkable
class LayeredImages(Protocol):
    """A runtime that keeps its images' layers as folders of the node."""

    async def image_layers(self, image: str) -> Sequence[str]:
        """Return the folders of an image's layers, the topmost first. Raises ImageError."""
        ...


class ImageVolumes:
    """The kind image."""

    name = "kubernetes.io/image"
    volatile = False

    def __init__(self, store: ImageStore, runtime: ImageFinder, mounts: Mounts, outlet: Outlet) -> None:
        self._store = store
        self._outlet = outlet
        self._runtime = runtime
        self._mounts = mounts

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is an image."""
        return volume.image is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Have the image, and show its layers as one folder."""
        source = volume.image or ImageSource()
        wanted = Container(name=volume.name, image=source.reference, image_pull_policy=source.pull_policy)

        def tell(kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
            self._outlet.event(pod, "", kind, reason, message)

        try:
            if await in_thread(self._mounts.below, folder):
                there = await self._runtime.find_image(source.reference)
                return Ready(path=folder, read_only=True, image_id=there.id if there is not None else "")
            found = await self._store.ensure(pod, wanted, tell)
            if not isinstance(self._runtime, LayeredImages):
                return Ready(path=folder, read_only=True, image=source.reference, image_id=found.id)
            layers = await self._runtime.image_layers(source.reference)
        except (ContainerError, ImageError) as error:
            raise VolumeError(str(error)) from error
        if not layers:
            raise VolumeError(f"the layers of image {source.reference} are not kept as folders that can be mounted")
        await in_thread(self._show, folder, layers)
        return Ready(path=folder, read_only=True, image_id=found.id)

    async def tear_down(self, folder: Path) -> None:
        """Nothing but the mount is there."""

    def _show(self, folder: Path, layers: Sequence[str]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._mounts.overlay(folder, layers)
        except OSError as error:
            raise VolumeError(f"{error.strerror or error}: {folder}") from error
