"""The images of a CRI runtime."""

from __future__ import annotations

from orch_agent.runtimes.cri.connection import (
    IMAGE_FS_INFO,
    IMAGE_STATUS,
    LIST_IMAGES,
    PULL_IMAGE,
    REMOVE_IMAGE,
    Connection,
    MissingError,
)
from orch_agent.runtimes.image_names import repository
from orch_agent.runtimes.protocol import ContainerError, Credentials, FoundImage, ImageError, StoredImage
from orch_pb.cri import api_pb2

_PULL_TIMEOUT = 24 * 3600.0
"""The runtime itself gives a pull up that makes no progress (containerd: image_pull_progress_timeout)."""


class CriImages:
    """Images by their names as pods write them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, image: str) -> FoundImage | None:
        """Return an image that is there."""
        found = await self._find(image)
        return FoundImage(found.id, _ref(found, image), found.size) if found.id else None

    async def user(self, image: str) -> str:
        """Return the image's USER, "" for root."""
        found = await self._find(image)
        if found.username:
            return found.username
        return str(found.uid.value) if found.uid.value else ""

    async def pull(self, image: str, credentials: Credentials | None) -> FoundImage:
        """Fetch the image. Raises ImageError."""
        request = api_pb2.PullImageRequest(image=_spec(image))
        if credentials is not None:
            request.auth.username, request.auth.password = credentials.username, credentials.password
        try:
            await self._connection.call(PULL_IMAGE, request, timeout=_PULL_TIMEOUT)
        except ContainerError as error:
            raise ImageError(str(error)) from error
        found = await self.find(image)
        if found is None:
            raise ImageError(f"{image} was pulled and is not there")
        return found

    async def all(self, pinned: str) -> list[StoredImage]:
        """Return the images; the one of the name `pinned` is not to be removed, nor those that the runtime pins."""
        listed = (await self._connection.call(LIST_IMAGES, api_pb2.ListImagesRequest())).images
        return [
            StoredImage(
                id=image.id,
                names=(*image.repo_tags, *image.repo_digests),
                size=image.size,
                pinned=image.pinned or pinned in image.repo_tags,
            )
            for image in listed
        ]

    async def remove(self, image: str) -> None:
        """Remove an image with all its names."""
        try:
            await self._connection.call(REMOVE_IMAGE, api_pb2.RemoveImageRequest(image=_spec(image)))
        except MissingError:
            return
        except ContainerError as error:
            raise ImageError(str(error)) from error

    async def file_system(self) -> str:
        """Return the folder that holds the images."""
        answer = await self._connection.call(IMAGE_FS_INFO, api_pb2.ImageFsInfoRequest())
        return answer.image_filesystems[0].fs_id.mountpoint if answer.image_filesystems else ""

    async def _find(self, image: str) -> api_pb2.Image:
        try:
            return (await self._connection.call(IMAGE_STATUS, api_pb2.ImageStatusRequest(image=_spec(image)))).image
        except MissingError:
            return api_pb2.Image()


def _ref(found: api_pb2.Image, image: str) -> str:
    """Return the image's name by digest: of several, the one in the registry that it was asked for from."""
    wanted = f"{repository(image)}@"
    digests = sorted(found.repo_digests, key=lambda each: not each.startswith(wanted))
    return digests[0] if digests else found.id


def _spec(image: str) -> api_pb2.ImageSpec:
    return api_pb2.ImageSpec(image=image, user_specified_image=image)
