"""The images of a node's Podman."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from orch_agent.runtimes.podman.connection import Connection, Document, MissingError, problem
from orch_agent.runtimes.protocol import ImageError

_PULL_TIMEOUT: Final = 600.0


class PodmanImages:
    """Images by their names as pods write them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def id(self, image: str) -> str:
        """Return sha256:<id>, "" when the image is not in the node's stores."""
        document = await self._find(image)
        return f"sha256:{document['Id'].removeprefix('sha256:')}" if document is not None else ""

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

    async def pull(self, image: str) -> str:
        """Fetch the image by its full name, as Podman's own short names would ask. Raises ImageError."""
        reference = urlencode({"reference": qualified(image), "policy": "always"})
        answer = await self._connection.post_slowly(f"/images/pull?{reference}", _PULL_TIMEOUT)
        if answer.status_code >= 400:
            raise ImageError(problem(answer))
        for line in answer.text.splitlines():
            report: Document = json.loads(line)
            if report.get("error"):
                raise ImageError(str(report["error"]))
        found = await self.id(image)
        if not found:
            raise ImageError(f"{image} was pulled and is not there")
        return found

    async def _find(self, image: str) -> Document | None:
        try:
            return await self._connection.call("GET", f"/images/{quote(qualified(image), safe='')}/json")
        except MissingError:
            return None


def qualified(image: str) -> str:
    """Return an image's full name: `nginx` is docker.io/library/nginx:latest, as Kubernetes reads it."""
    first, slash, rest = image.partition("/")
    if not slash:
        host, path = "docker.io", f"library/{image}"
    elif "." in first or ":" in first or first == "localhost":
        host, path = first, rest
    else:
        host, path = "docker.io", image
    if "@" not in path and ":" not in path.rpartition("/")[2]:
        path = f"{path}:latest"
    return f"{host}/{path}"
