"""What a node's Podman keeps on the disk: images, and what containers write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote

import msgspec

from orch_agent.runtimes.logfile import files_of
from orch_agent.runtimes.podman.connection import Connection, Document, MissingError
from orch_agent.runtimes.protocol import ContainerError, ContainerInfo, ImageError, Layers, StoredImage
from orch_agent.stats.disk import measure
from orch_agent.stats.model import DiskUse

_LOG: Final = logging.getLogger(__name__)


class _Places(msgspec.Struct, frozen=True):
    """Where a container writes: its own layer, and the folder of its logs."""

    layer: str
    logs: str


class PodmanStorage:
    """The storage of one node."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._root = ""
        self._places: dict[str, _Places] = {}

    async def layers(self, containers: Sequence[ContainerInfo]) -> Sequence[Layers]:
        """Measure what containers have written."""
        for gone in self._places.keys() - {info.id for info in containers}:
            del self._places[gone]
        found: list[Layers] = []
        for info in containers:
            places = await self._places_of(info.id)
            if places is not None:
                layer = await asyncio.to_thread(measure, places.layer)
                logs = await asyncio.to_thread(_measure_logs, places.logs)
                found.append(Layers(info.identity, info.id, layer, logs))
        return found

    async def log_file(self, container: str) -> Path | None:
        """Return where a container's log is written, None when it is gone."""
        places = await self._places_of(container)
        return Path(places.logs) if places is not None and places.logs else None

    async def folder(self, container: str) -> Path | None:
        """Return the folder of a container's monitor, in which its log is, too; None when it is gone."""
        log = await self.log_file(container)
        return log.parent if log is not None else None

    async def log_files(self, containers: Sequence[str]) -> list[str]:
        """Return where containers' logs are written, of those that are still there."""
        for unknown in [each for each in containers if each not in self._places]:
            await self._places_of(unknown)
        found = (self._places.get(each) for each in containers)
        return [places.logs for places in found if places is not None and places.logs]

    def take(self, container: str, document: Document) -> _Places:
        """Remember of an inspection where a container writes, which never changes."""
        places = self._places.get(container)
        if places is None:
            driver: Document = document.get("GraphDriver") or {}
            layer: Document = driver.get("Data") or {}
            settings: Document = document.get("HostConfig") or {}
            log: Document = settings.get("LogConfig") or {}
            places = self._places[container] = _Places(str(layer.get("UpperDir") or ""), str(log.get("Path") or ""))
        return places

    async def images(self) -> Sequence[StoredImage]:
        """Return the images; those of stores that are shared among nodes are pinned."""
        listed = cast("list[Document]", await self._connection.call("GET", "/images/json"))
        return [_image(document) for document in listed]

    async def remove_image(self, image: str) -> None:
        """Remove an image name by name, as Podman, told to remove it at once, would remove its containers, too."""
        known = next((each for each in await self.images() if each.id == image), None)
        if known is None:
            return
        tags = [name for name in known.names if "@" not in name]
        for name in tags or [image.removeprefix("sha256:")]:
            try:
                await self._connection.finish("DELETE", f"/images/{quote(name, safe='')}")
            except MissingError:
                _LOG.debug("image %s was gone already", name)
            except ContainerError as error:
                raise ImageError(str(error)) from error

    async def file_system(self) -> str:
        """Return the folder of Podman's storage."""
        if not self._root:
            document = await self._connection.call("GET", "/info")
            self._root = str(document.get("store", {}).get("graphRoot") or "")
        return self._root

    async def _places_of(self, container: str) -> _Places | None:
        places = self._places.get(container)
        if places is None:
            try:
                document = await self._connection.call("GET", f"/containers/{container}/json")
            except ContainerError as error:  # it went meanwhile, or its process ended while it was looked at
                _LOG.debug("where container %s writes is not known: %s", container, error)
                return None
            places = self.take(container, document)
        return places


def _image(document: Document) -> StoredImage:
    names = [*(document.get("RepoDigests") or ()), *(document.get("RepoTags") or ())]
    return StoredImage(
        id=f"sha256:{str(document['Id']).removeprefix('sha256:')}",
        names=tuple(names),
        size=int(document.get("Size") or 0),
        pinned=bool(document.get("ReadOnly")),
    )


def _measure_logs(path: str) -> DiskUse:
    """Return what a log takes together with those that were rotated away from under its name."""
    total = DiskUse()
    for _, each in files_of(Path(path)) if path else ():
        total += measure(str(each))
    return total
