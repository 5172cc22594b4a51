"""Any list in any pages, with any writes in between, is the list as it was when it began; forged tokens are refused."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from orch import errors
from orch.clock import ManualClock
from orch.errors import BadRequestError, ExpiredError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.memory import MemoryStore
from orch.store.protocol import Write
from orch_api.registry import REGISTRY
from orch_api.storage import read
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import encode
from orch_api.storage.read import ListOptions, Reader

CONFIG_MAPS: Any = REGISTRY.stored("", "configmaps")
NAMESPACES = ("a", "a-b", "b")
NAMES = st.sampled_from(("a", "a-b", "a.b", "ab", "b", "z"))
CHANGES = st.tuples(st.sampled_from(NAMESPACES), NAMES, st.sampled_from(("put", "put odd", "remove")))
LISTS = st.tuples(st.sampled_from(("", *NAMESPACES)), st.integers(1, 4), st.booleans())

State = dict[tuple[str, str], bool]


class World:
    """A store with what is thought to be in it, and a reader."""

    def __init__(self, store: MemoryStore, cache: ObjectCache) -> None:
        self.store = store
        self.cache = cache
        self.reader = Reader(store, cache)
        self.state: State = {}

    async def change(self, namespace: str, name: str, what: str) -> None:
        where = keys.object_key(ObjectKey("", "configmaps", namespace, name))
        if what == "remove":
            if self.state.pop((namespace, name), None) is not None:
                await self.store.write(Write(where, None, None))
            return
        odd = what == "put odd"
        metadata = {"name": name, "namespace": namespace, "uid": "u", "labels": {"odd": str(odd)}}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        await self.store.write(Write(where, encode(document).value, None))
        self.state[namespace, name] = odd

    def listed(self, namespace: str, *, odd: bool) -> list[tuple[str, str]]:
        """What a list holds now, by plain reckoning: in the order of "namespace/name"."""
        return sorted(
            (one for one, is_odd in self.state.items() if one[0] == (namespace or one[0]) and (is_odd or not odd)),
            key="/".join,
        )


@asynccontextmanager
async def world(kept: int, range_page: int) -> AsyncIterator[World]:
    store, clock = MemoryStore(), ManualClock()
    cache = ObjectCache(store, clock)
    running = asyncio.create_task(cache.run())
    try:
        with mock.patch.object(read, "_SNAPSHOTS", kept), mock.patch.object(read, "_RANGE_PAGE", range_page):
            await cache.wait_ready(5)
            yield World(store, cache)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


class Listing:
    """One list on its way."""

    def __init__(self, at: World, namespace: str, limit: int, *, odd: bool) -> None:
        self.expected = at.listed(namespace, odd=odd)
        self.found: list[tuple[str, str]] = []
        self.ended = False
        self._world = at
        self._namespace = namespace
        self._limit = limit
        self._selector = "odd=True" if odd else ""
        self._version = 0
        self._token = ""

    async def turn(self) -> None:
        """Read the next page."""
        options = ListOptions(limit=self._limit, label_selector=self._selector, continue_token=self._token)
        page = await self._world.reader.list_page(CONFIG_MAPS, self._namespace, options)
        assert len(page.items) <= self._limit
        assert self._version in {0, page.version}
        self.found += [(item.key.namespace, item.key.name) for item in page.items]
        if page.remaining is not None:
            assert page.remaining == len(self.expected) - len(self.found)
        self._token, self._version = page.continue_token, page.version
        self.ended = not page.continue_token


@settings(deadline=None)
@given(
    before=st.lists(CHANGES, max_size=12),
    lists=st.lists(LISTS, min_size=1, max_size=2),
    between=st.lists(st.lists(CHANGES, max_size=3), max_size=8),
    kept=st.sampled_from((0, 1, 16)),
    range_page=st.sampled_from((1, 2, 500)),
)
def test_pages_are_the_list_as_it_was_when_it_began(
    before: list[Any], lists: list[Any], between: list[list[Any]], kept: int, range_page: int
) -> None:
    async def run() -> None:
        async with world(kept, range_page) as at:
            for change in before:
                await at.change(*change)
            disturbances = iter(between)
            begun: list[Listing] = []
            for namespace, limit, odd in lists:
                begun.append(Listing(at, namespace, limit, odd=odd))
                await begun[-1].turn()
                for change in next(disturbances, ()):
                    await at.change(*change)
            while open_ones := [one for one in begun if not one.ended]:
                for one in open_ones:
                    await one.turn()
                    for change in next(disturbances, ()):
                        await at.change(*change)
            for one in begun:
                assert one.found == one.expected

    asyncio.run(run())


TOKENS = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.fixed_dictionaries(
        {},
        optional={
            "v": st.sampled_from(("meta.k8s.io/v1", "meta.k8s.io/v2", "", 1)),
            "rv": st.one_of(st.integers(-5, 4000), st.sampled_from((2**63, 2**64, 10**30, "7", 1.5, None))),
            "start": st.one_of(
                st.text(max_size=8), st.sampled_from(("a/b\x00", "../x", "/a", "a/../../x", "b", "zz", None, 5))
            ),
        },
    ).map(lambda token: base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")),
)


@settings(deadline=None)
@given(tokens=st.lists(TOKENS, min_size=1, max_size=5), namespace=st.sampled_from(("", "a")), limit=st.integers(0, 2))
def test_forged_tokens_are_refused_or_lead_to_what_may_be_read_anyhow(
    tokens: list[str], namespace: str, limit: int
) -> None:
    async def run() -> None:
        async with world(16, 2) as at:
            for name in ("a", "b", "c"):
                await at.change("a", name, "put")
            secret = keys.object_key(ObjectKey("", "secrets", "a", "hidden"))
            metadata = {"name": "hidden", "namespace": "a", "uid": "u"}
            await at.store.write(Write(secret, encode({"kind": "Secret", "metadata": metadata}).value, None))
            await at.cache.catch_up()
            for token in tokens:
                options = ListOptions(continue_token=token, limit=limit)
                try:
                    page = await at.reader.list_page(CONFIG_MAPS, namespace, options)
                except (BadRequestError, ExpiredError):
                    continue
                except errors.TimeoutError:  # a version that is still to come, for another process may be ahead
                    assert read._decode_token(token).rv > at.cache.version
                    continue
                assert all(item.key.resource == "configmaps" for item in page.items)

    with mock.patch.object(ObjectCache, "wait_for", _soon):
        asyncio.run(run())


async def _soon(self: ObjectCache, version: int) -> None:
    """Wait for no version that is still to come."""
    if version > self.version:
        raise errors.TimeoutError("Too large resource version")
