"""The images of a node's Podman."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlencode

from orch_agent.runtimes.image_names import qualified, repository
from orch_agent.runtimes.podman.connection import API_VERSION, Connection, Document, MissingError
from orch_agent.runtimes.podman.wire import Wire
from orch_agent.runtimes.protocol import ContainerError, Credentials, FoundImage, ImageError, ProgressHandler


class PodmanImages:
    """Images by their names as pods write them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, image: str) -> FoundImage | None:
        """Return an image of the node's stores."""
        document = await self._find(image)
        if document is None:
            return None
        name, found = f"{repository(image)}@", f"sha256:{document['Id'].removeprefix('sha256:')}"
        digests: list[str] = sorted(document.get("RepoDigests") or (), key=lambda each: not each.startswith(name))
        return FoundImage(found, digests[0] if digests else found, int(document.get("Size") or 0))

    async def user(self, image: str) -> str:
        """Return the image's USER."""
        document = await self._find(image)
        config: Document = (document or {}).get("Config") or {}
        return str(config.get("User") or "")

    async def layers(self, image: str) -> tuple[Path, ...]:
        """Return the folders of the image's layers, the topmost first; none unless they are kept as an overlay."""
        document = await self._find(image)
        driver: Document = (document or {}).get("GraphDriver") or {}
        if driver.get("Name") != "overlay":
            return ()
        data: Document = driver.get("Data") or {}
        below = str(data.get("LowerDir") or "").split(":")
        return tuple(Path(each) for each in (str(data.get("UpperDir") or ""), *below) if each)

    async def pull(
        self, image: str, credentials: Credentials | None, on_progress: ProgressHandler | None
    ) -> FoundImage:
        """Fetch the image by its full name, as Podman's own short names would ask. Raises ImageError.

        This goes by the call that Docker has, too: Podman's own tells nothing between a layer's beginning and its end.
        """
        path = f"/v{API_VERSION}/images/create?{urlencode({'fromImage': qualified(image)})}"
        headers = {"X-Registry-Auth": _header(credentials)} if credentials is not None else {}
        layers: dict[str, tuple[int, int]] = {}
        try:
            wire = await Wire.open(self._connection.socket, "POST", path, headers=headers)
            try:
                async for line in wire.lines():
                    report: Document = json.loads(line)
                    if report.get("error"):
                        raise ImageError(str(report["error"]))
                    _follow(report, layers)
                    if on_progress is not None and layers:
                        on_progress(
                            sum(done for done, _ in layers.values()), sum(total for _, total in layers.values())
                        )
            finally:
                await wire.close()
        except (ContainerError, ValueError) as error:
            raise ImageError(str(error)) from error
        found = await self.find(image)
        if found is None:
            raise ImageError(f"{image} was pulled and is not there")
        return found

    async def _find(self, image: str) -> Document | None:
        try:
            return await self._connection.call("GET", f"/images/{quote(qualified(image), safe='')}/json")
        except MissingError:
            return None


def _follow(report: Document, layers: dict[str, tuple[int, int]]) -> None:
    """Take in what a report says of a layer: how much of it has come, and of how much."""
    layer, progress = str(report.get("id") or ""), cast("Document", report.get("progressDetail") or {})
    if layer and progress.get("total"):
        layers[layer] = int(progress.get("current") or 0), int(progress["total"])
    elif layer:
        layers.setdefault(layer, (0, 0))


def _header(credentials: Credentials) -> str:
    """Return credentials as Docker's clients send them."""
    document = {"username": credentials.username, "password": credentials.password}
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
