"""Removes images that no container uses when the disk is too full or they are too old, the longest unused first.

Source: k8s.io/kubernetes/pkg/kubelet/images/image_gc_manager.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.config import Duration
from orch.errors import ConfigError, OrchError
from orch_agent.runtimes.protocol import ImageError, Runtime, State, StoredImage
from orch_agent.stats.model import FileSystem

_LOG: Final = logging.getLogger(__name__)
_REMOVED: Final = Counter("orch_agent_images_removed_total", "Images removed to make room, by cause.", ["reason"])
_MOST_LISTED: Final = 50
_MOST_NAMES: Final = 5


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When images are removed: above `high_threshold` percent of the disk, until `low_threshold` is reached.

    `minimum_age`: younger ones stay. `maximum_age`: unused for so long they go anyway; 0: never.
    """

    high_threshold: int = 85
    low_threshold: int = 80
    minimum_age: Duration = 120.0
    maximum_age: Duration = 0.0
    interval: Duration = 300.0

    def check(self, path: str) -> None:
        """Raise ConfigError for thresholds that cannot be meant."""
        for name in ("high_threshold", "low_threshold"):
            if not 0 <= getattr(self, name) <= 100:
                raise ConfigError(f"{path}.{name}", "must be in range [0-100]")
        if self.low_threshold >= self.high_threshold:
            raise ConfigError(f"{path}.low_threshold", f"must be less than high_threshold ({self.high_threshold})")


class InsufficientError(OrchError):
    """Not as much room could be made as was to be made; the message is kubelet's."""


class _Record(msgspec.Struct):
    """What is remembered of an image: since when it is here, and when a container was last seen to use it."""

    first: datetime
    used: datetime | None = None


class ImageCollector:
    """The images of one node. `shown` returns the ids of those that volumes show, which count as used."""

    def __init__(
        self,
        runtime: Runtime,
        settings: ImageSettings,
        clock: Clock,
        shown: Callable[[], AbstractSet[str]] = frozenset,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._clock = clock
        self._shown = shown
        self._records: dict[str, _Record] = {}
        self.images: Sequence[StoredImage] = ()

    async def detect(self) -> Mapping[str, StoredImage]:
        """Look which images there are and which are used; return those that are not. Raises OrchError."""
        now = self._clock.now()
        images = {image.id: image for image in await self._runtime.images()}
        used = {info.image_id for info in await self._runtime.containers()} | self._shown()
        self._records = {each: self._records.get(each) or _Record(now) for each in images}
        for each in used & self._records.keys():
            self._records[each].used = now
        self.images = sorted(images.values(), key=lambda image: (-image.size, image.id))
        return {each: image for each, image in images.items() if each not in used and not image.pinned}

    async def collect(self, disk: FileSystem) -> int:
        """Make room if the disk is too full; return the bytes won. Raises InsufficientError, OrchError."""
        unused = await self.detect()
        if self._settings.maximum_age:
            unused = await self._collect_old(unused)
        if disk.capacity <= 0:
            return 0
        percent = 100 - disk.available * 100 // disk.capacity
        if percent < self._settings.high_threshold:
            return 0
        wanted = disk.capacity * (100 - self._settings.low_threshold) // 100 - disk.available
        _LOG.info("the disk of images is %d %% full: %d bytes are to be won", percent, wanted)
        won = await self._free(unused, wanted, self._clock.now())
        if won < wanted:
            raise InsufficientError(
                "Failed to garbage collect required amount of images. "
                f"Attempted to free {wanted} bytes, but only found {won} bytes eligible to free."
            )
        return won

    async def delete_unused(self) -> int:
        """Remove all images that are not used, however young; return the bytes won. Raises OrchError."""
        unused = await self.detect()
        won = 0
        for each, image in unused.items():
            won += await self._remove(each, image, "space")
        return won

    def listed(self) -> list[dict[str, object]]:
        """Return what a node tells of its images: the largest, with a few names each."""
        return [
            {"names": list(image.names[:_MOST_NAMES]), "sizeBytes": image.size}
            for image in self.images[:_MOST_LISTED]
            if image.names
        ]

    async def _free(self, unused: Mapping[str, StoredImage], wanted: int, now: datetime) -> int:
        won = 0
        oldest_first = sorted(unused, key=lambda each: (self._last_used(each), self._records[each].first))
        for each in oldest_first:
            if won >= wanted:
                break
            if (now - self._records[each].first).total_seconds() < self._settings.minimum_age:
                continue
            won += await self._remove(each, unused[each], "space")
        return won

    async def _collect_old(self, unused: Mapping[str, StoredImage]) -> Mapping[str, StoredImage]:
        now, kept = self._clock.now(), dict(unused)
        for each, image in unused.items():
            since = self._records[each].used or self._records[each].first
            if (now - since).total_seconds() > self._settings.maximum_age:
                await self._remove(each, image, "age")
                del kept[each]
        return kept

    def _last_used(self, image: str) -> datetime:
        record = self._records[image]
        return record.used or record.first - timedelta(days=36500)

    async def _remove(self, name: str, image: StoredImage, reason: str) -> int:
        """Remove an image; return its size, 0 when it stays because a container has begun to use it."""
        try:
            await self._runtime.remove_image(name)
        except ImageError as error:
            _LOG.warning("image %s stays: %s", ", ".join(image.names) or name, error)
            return 0
        _REMOVED.labels(reason).inc()
        _LOG.info("image %s is removed: %d bytes", ", ".join(image.names) or name, image.size)
        self._records.pop(name, None)
        self.images = [each for each in self.images if each.id != name]
        return image.size


class Room:
    """Makes room on a node's disk by removing what nobody needs."""

    def __init__(self, runtime: Runtime, collector: ImageCollector) -> None:
        self._runtime = runtime
        self._collector = collector

    async def delete_dead_containers(self) -> None:
        """Remove all containers that have ended; what became of them is told in their pods' status."""
        for info in await self._runtime.containers():
            if info.state is State.EXITED:
                await self._runtime.remove(info.id)

    async def delete_unused_images(self) -> None:
        """Remove all images that no container uses."""
        await self._collector.delete_unused()
