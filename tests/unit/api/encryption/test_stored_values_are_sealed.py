"""What is written reaches the store sealed and comes back plain; keys are rotated while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from encryption_files import IDENTITY, aesgcm, document, put, secretbox

from orch.clock import ManualClock
from orch.errors import StoreError, UnavailableError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.memory import MemoryStore
from orch.store.protocol import Write
from orch_api.encryption import providers
from orch_api.encryption.renewal import Renewal
from orch_api.encryption.store import SealedStore
from orch_api.encryption.vault import Vault
from orch_api.storage.objects import StateReader, encode
from orch_pb.v1.object_pb2 import StoredObject

PLANTED = b"cGxhbnRlZC1zZWNyZXQ="
KEY = keys.object_key(ObjectKey("", "secrets", "default", "a"))


def value(name: str = "a", kind: str = "Secret") -> bytes:
    metadata = {"name": name, "namespace": "default", "uid": "u"}
    return encode({"kind": kind, "apiVersion": "v1", "metadata": metadata, "data": {"p": PLANTED.decode()}}).value


class World:
    def __init__(self, store: MemoryStore, file: Path, *given: dict[str, Any]) -> None:
        self.clock = ManualClock()
        self.raw = store
        self.file = put(file, document(*given))
        self.vault = Vault(self.file, self.clock)
        self.store = SealedStore(store, self.vault)
        self.renewal = Renewal(store, self.store, self.vault, "test", self.clock)

    async def reload(self, *given: dict[str, Any]) -> None:
        put(self.file, document(*given))
        running = asyncio.create_task(self.vault.run())
        async with asyncio.timeout(5):
            while self.vault.generation == 0:
                await asyncio.sleep(0)
                await self.clock.advance(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def key_id(self, key: bytes = KEY) -> str:
        found = await self.raw.get(key)
        assert found is not None
        return StoredObject.FromString(found.value).key_id

    async def read(self, key: bytes = KEY) -> bytes:
        found = await self.store.get(key)
        assert found is not None
        parsed = keys.parse_object_key(key)
        assert parsed is not None
        return StateReader().read_item(parsed, found).json


@pytest.fixture
async def raw() -> AsyncGenerator[MemoryStore]:
    made = MemoryStore()
    yield made
    await made.close()


@pytest.mark.parametrize("provider", [aesgcm("k"), secretbox("k")], ids=["aesgcm", "secretbox"])
async def test_the_store_holds_nothing_plain(raw: MemoryStore, tmp_path: Path, provider: dict[str, Any]) -> None:
    world = World(raw, tmp_path / "e.yaml", provider)
    assert (await world.store.write(Write(KEY, value(), 0))).succeeded
    lost, other = await world.store.write_all([Write(KEY, value(), 0), Write(KEY + b"b", value("ab"), 0)])
    assert (lost.succeeded, other.succeeded) == (False, True)
    assert lost.current is not None
    assert PLANTED in lost.current.value
    for key in (KEY, KEY + b"b"):
        found = await raw.get(key)
        assert found is not None
        assert PLANTED not in found.value
        assert PLANTED in await world.read(key)
    page = await world.store.range(b"/orch/", b"/orch0")
    assert [PLANTED in item.value for item in page.items] == [True, True]


async def test_watches_see_it_plain_and_others_as_they_are(raw: MemoryStore, tmp_path: Path) -> None:
    world = World(raw, tmp_path / "e.yaml", aesgcm("k"))
    other = keys.object_key(ObjectKey("", "configmaps", "default", "a"))
    async with aclosing(world.store.watch(*keys.EVERYTHING, revision=1)) as batches:
        await world.store.write_all([Write(KEY, value(), 0), Write(other, value(kind="ConfigMap"), 0)])
        seen: dict[bytes, bytes | None] = {}
        async with asyncio.timeout(5):
            async for batch in batches:
                seen.update((event.key, event.value) for event in batch.events)
                if len(seen) == 2:
                    break
    assert all(each is not None and PLANTED in each for each in seen.values())
    stored = await raw.get(other)
    assert stored is not None
    assert PLANTED in stored.value


async def test_a_value_that_was_moved_is_refused(raw: MemoryStore, tmp_path: Path) -> None:
    for number, provider in enumerate((aesgcm("k"), secretbox("k"))):
        world = World(raw, tmp_path / f"{number}.yaml", provider)
        await world.store.write(Write(KEY, value(), None))
        found = await raw.get(KEY)
        assert found is not None
        moved = KEY + b"moved"
        await raw.write(Write(moved, found.value, None))
        with pytest.raises(StoreError, match="sealed with the key"):
            await world.read(moved)


async def test_plain_values_are_read_where_identity_is_named(raw: MemoryStore, tmp_path: Path) -> None:
    await raw.write(Write(KEY, value(), 0))
    assert PLANTED in await World(raw, tmp_path / "with.yaml", aesgcm("k"), IDENTITY).read()
    with pytest.raises(StoreError):  # whoever writes to etcd must not plant objects where all are sealed
        await World(raw, tmp_path / "without.yaml", aesgcm("k")).read()


async def test_rotation_writes_everything_again(raw: MemoryStore, tmp_path: Path) -> None:
    secrets: dict[str, str] = {}
    await raw.write(Write(KEY + b"plain", value("aplain"), 0))
    world = World(raw, tmp_path / "e.yaml", aesgcm("old", secrets=secrets), IDENTITY)
    await world.store.write(Write(KEY, value(), 0))
    assert await world.renewal.renew() == 1
    assert await world.key_id(KEY + b"plain") == "aesgcm:old"
    await world.reload(aesgcm("new", "old", secrets=secrets), IDENTITY)
    assert world.vault.changed.is_set()
    assert await world.renewal.renew() == 2
    assert await world.renewal.renew() == 0
    assert {await world.key_id(), await world.key_id(KEY + b"plain")} == {"aesgcm:new"}
    assert PLANTED in await world.read()
    assert PLANTED in await World(raw, tmp_path / "new.yaml", aesgcm("new", secrets=secrets)).read()


async def test_a_key_that_is_not_known_yet_is_looked_for(raw: MemoryStore, tmp_path: Path) -> None:
    secrets: dict[str, str] = {}
    slow = World(raw, tmp_path / "e.yaml", aesgcm("old", secrets=secrets))
    quick = World(raw, tmp_path / "e.yaml", aesgcm("new", "old", secrets=secrets))
    await quick.store.write(Write(KEY, value(), 0))
    await slow.clock.advance(1)
    assert PLANTED in await slow.read()


async def test_watches_begin_again_when_keys_may_open_more(raw: MemoryStore, tmp_path: Path) -> None:
    lost = World(raw, tmp_path / "lost.yaml", aesgcm("lost"))
    await lost.store.write(Write(KEY, value(), 0))
    world = World(raw, tmp_path / "e.yaml", aesgcm("k"))
    async with aclosing(world.store.watch(*keys.EVERYTHING, revision=1)) as batches:
        async with asyncio.timeout(5):
            async for batch in batches:
                if batch.events:
                    break
        await world.reload(aesgcm("k"), IDENTITY)
        await raw.write(Write(KEY, None, None))
        with pytest.raises(UnavailableError, match="other keys"):
            await anext(batches)


async def test_a_wrong_file_changes_nothing(raw: MemoryStore, tmp_path: Path) -> None:
    world = World(raw, tmp_path / "e.yaml", aesgcm("k"))
    await world.store.write(Write(KEY, value(), 0))
    put(world.file, {"kind": "EncryptionConfiguration"})
    running = asyncio.create_task(world.vault.run())
    for _ in range(5):
        await asyncio.sleep(0)
        await world.clock.advance(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert PLANTED in await world.read()


async def test_data_keys_are_used_a_bounded_number_of_times(
    raw: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "DATA_KEY_USES", 2)
    world = World(raw, tmp_path / "e.yaml", aesgcm("k"))
    places = [KEY + str(number).encode() for number in range(4)]
    for place in places:
        await world.store.write(Write(place, value(), 0))
    used: set[bytes] = set()
    for place in places:
        found = await raw.get(place)
        assert found is not None
        content = providers.SealedContent.FromString(StoredObject.FromString(found.value).json)
        used.add(content.data_key)
        assert PLANTED in await world.read(place)
    assert len(used) == 2
