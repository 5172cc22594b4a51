"""The api writes down which nodes the bus may let in, by what their Nodes say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from orch.bus.node_users import ANNOTATION, read_keys
from orch.bus.user_keys import encode_public
from orch.clock import SystemClock
from orch.store.keys import ObjectKey
from orch_api.bus_access import BusAccess, admitted, key_of
from orch_api.storage.cache import CacheEvent, ObjectCache
from orch_api.storage.objects import Cached

A, B = (encode_public(bytes([number] * 32)) for number in (1, 2))


def node(key: str) -> bytes:
    return json.dumps({"metadata": {"annotations": {ANNOTATION: key}}}).encode()


def test_a_key_is_read_from_the_annotation_and_checked() -> None:
    assert key_of(node(A)) == A
    assert key_of(node(f"{A}x")) == ""
    assert key_of(b'{"metadata":{}}') == ""
    assert key_of(json.dumps({"metadata": {"labels": {ANNOTATION: A}}}).encode()) == ""


def test_who_had_a_key_first_keeps_it() -> None:
    assert admitted({"a": A, "b": B}, {}) == {"a": A, "b": B}
    assert admitted({"a": B, "b": B}, {"b": B}) == {"b": B}
    assert admitted({"a": B}, {"b": B}) == {"a": B}, "the owner has gone, or has another key"
    assert admitted({}, {"b": B}) == {}


class Feed(ObjectCache):
    """A cache whose changes the test makes up."""

    def __init__(self) -> None:
        self.observers: list[Callable[[CacheEvent], None]] = []

    def observe(self, group: str, resource: str, observer: Callable[[CacheEvent], None]) -> None:
        assert (group, resource) == ("", "nodes")
        self.observers.append(observer)

    async def wait_ready(self, timeout: float = 30) -> None:
        """Be ready."""

    def say(self, name: str, document: bytes, *, deleted: bool = False) -> None:
        item = Cached(ObjectKey("", "nodes", "", name), "uid", 1, document, {}, deleted=deleted)
        for observer in self.observers:
            observer(CacheEvent("DELETED" if deleted else "MODIFIED", item, None, 0.0))


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[tuple[Feed, Path]]:
    feed, file = Feed(), tmp_path / "keys.json"
    running = asyncio.create_task(BusAccess(feed, str(file), SystemClock()).run())
    yield feed, file
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until(file: Path, expected: dict[str, str]) -> None:
    async with asyncio.timeout(10):
        while await asyncio.to_thread(read_keys, file) != expected:
            pass


async def test_the_file_follows_the_nodes(followed: tuple[Feed, Path]) -> None:
    feed, file = followed
    feed.say("a", node(A))
    feed.say("plain", b'{"metadata":{}}')
    await until(file, {"a": A})
    feed.say("b", node(A))
    feed.say("c", node(B))
    await until(file, {"a": A, "c": B})
    feed.say("a", node(A), deleted=True)
    await until(file, {"b": A, "c": B})
    feed.say("b", node("broken"))
    await until(file, {"c": B})
