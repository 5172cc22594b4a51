from __future__ import annotations

from typing import Any

import pytest

from orch.clock import ManualClock
from orch.errors import ConfigError
from orch_agent.images.collection import ImageCollector, ImageSettings, InsufficientError, Room
from orch_agent.runtimes.protocol import ContainerInfo, Identity, ImageError, State, StoredImage
from orch_agent.stats.model import FileSystem


class Store:
    """Images of 10 bytes each on a disk of 100, and the containers that use them."""

    def __init__(self) -> None:
        self.held: dict[str, StoredImage] = {}
        self.used: dict[str, State] = {}
        self.busy: set[str] = set()

    def add(self, *names: str, size: int = 10, pinned: bool = False) -> None:
        for name in names:
            self.held[name] = StoredImage(id=name, names=(f"{name}:1",), size=size, pinned=pinned)

    async def images(self) -> list[StoredImage]:
        return list(self.held.values())

    async def containers(self, uid: str = "") -> list[ContainerInfo]:
        del uid
        identity = Identity("n", "d", "p", "u", "c")
        return [
            ContainerInfo(id=f"c-{each}", identity=identity, state=state, image_id=each)
            for each, state in self.used.items()
        ]

    async def remove(self, container: str) -> None:
        del self.used[container.removeprefix("c-")]

    async def remove_image(self, image: str) -> None:
        if image in self.busy:
            raise ImageError("image is in use")
        del self.held[image]


@pytest.fixture
def store() -> Store:
    return Store()


def collector(store: Any, clock: ManualClock, **settings: Any) -> ImageCollector:
    return ImageCollector(store, ImageSettings(minimum_age=60, **settings), clock)


def disk(used: int) -> FileSystem:
    return FileSystem(capacity=100, available=100 - used)


async def test_nothing_goes_below_the_high_threshold(store: Store) -> None:
    store.add("a", "b")
    clock = ManualClock()
    images = collector(store, clock)
    await images.detect()
    await clock.advance(100)
    assert await images.collect(disk(84)) == 0
    assert set(store.held) == {"a", "b"}


async def test_the_longest_unused_go_first_until_the_low_threshold_is_reached(store: Store) -> None:
    store.add("never", "long-ago", "lately", "now")
    clock = ManualClock()
    images = collector(store, clock)
    for used in ("long-ago", "lately"):
        store.used = {used: State.RUNNING}
        await images.detect()
        await clock.advance(100)
    store.used = {"now": State.EXITED}
    assert await images.collect(disk(95)) == 20
    assert set(store.held) == {"lately", "now"}


async def test_young_and_pinned_images_stay_and_it_is_told_when_that_is_not_enough(store: Store) -> None:
    store.add("old")
    store.add("shared", pinned=True)
    clock = ManualClock()
    images = collector(store, clock)
    await images.detect()
    await clock.advance(100)
    store.add("young")
    words = (
        "Failed to garbage collect required amount of images. "
        "Attempted to free 20 bytes, but only found 10 bytes eligible to free."
    )
    with pytest.raises(InsufficientError) as told:
        await images.collect(disk(100))
    assert str(told.value) == words
    assert set(store.held) == {"shared", "young"}


async def test_an_image_that_a_container_has_begun_to_use_stays(store: Store) -> None:
    store.add("a", "b")
    store.busy = {"a"}
    clock = ManualClock()
    images = collector(store, clock)
    await images.detect()
    await clock.advance(100)
    assert await images.collect(disk(86)) == 10
    assert set(store.held) == {"a"}


async def test_images_that_are_unused_for_too_long_go_whatever_the_disk(store: Store) -> None:
    store.add("a", "b")
    clock = ManualClock()
    images = collector(store, clock, maximum_age=3600)
    store.used = {"b": State.RUNNING}
    await images.detect()
    await clock.advance(3000)
    await images.detect()
    await clock.advance(601)
    store.used = {}
    await images.collect(disk(1))
    assert set(store.held) == {"b"}


async def test_all_that_is_unused_goes_when_room_must_be_made(store: Store) -> None:
    store.add("a", "b", "c")
    store.used = {"a": State.RUNNING, "b": State.EXITED}
    images = collector(store, ManualClock())
    room = Room(store, images)  # type: ignore[arg-type] - plays what is asked of it
    await room.delete_dead_containers()
    assert set(store.used) == {"a"}
    await room.delete_unused_images()
    assert set(store.held) == {"a"}
    assert images.listed() == [{"names": ["a:1"], "sizeBytes": 10}]


async def test_a_node_lists_its_fifty_largest_images_with_five_names_each(store: Store) -> None:
    for number in range(60):
        store.add(f"image-{number}", size=number)
    store.held["many"] = StoredImage(id="many", names=tuple(f"many:{tag}" for tag in range(9)), size=1000)
    store.held["nameless"] = StoredImage(id="nameless", size=2000)
    images = collector(store, ManualClock())
    await images.detect()
    listed = images.listed()
    assert len(listed) == 49
    assert listed[0] == {"names": [f"many:{tag}" for tag in range(5)], "sizeBytes": 1000}
    assert listed[1]["sizeBytes"] == 59


@pytest.mark.parametrize(
    ("high", "low", "path"), [(101, 80, "high_threshold"), (85, -1, "low_threshold"), (80, 80, "low_threshold")]
)
def test_thresholds_that_cannot_be_meant_are_refused(high: int, low: int, path: str) -> None:
    with pytest.raises(ConfigError, match=f"images.{path}"):
        ImageSettings(high_threshold=high, low_threshold=low).check("images")
