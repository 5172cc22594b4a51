"""A key management service seals data keys; its key's change is noticed, and its absence tells what cannot be done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from encryption_files import IDENTITY, document, kms, put
from kms_server import KmsServer

from orch import config
from orch.clock import ManualClock
from orch.errors import StoreError, UnavailableError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.memory import MemoryStore
from orch.store.protocol import Write
from orch_api.encryption.configuration import KmsPart
from orch_api.encryption.kms import KmsProvider
from orch_api.encryption.store import SealedStore
from orch_api.encryption.vault import Vault
from orch_api.storage.objects import encode
from orch_pb.v1.object_pb2 import StoredObject

PLACE = b"/orch/objects/core/secrets/default/a"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[KmsServer]:
    made = KmsServer(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def provider(server: KmsServer, clock: ManualClock) -> AsyncGenerator[KmsProvider]:
    made = provider_of(server, clock)
    yield made
    await made.close()


def provider_of(server: KmsServer, clock: ManualClock) -> KmsProvider:
    return KmsProvider(config.decode(KmsPart, kms(server.endpoint)["kms"], "kms"), clock)


async def test_one_call_for_many_objects(server: KmsServer, provider: KmsProvider, clock: ManualClock) -> None:
    sealed = [await provider.seal(b"content", PLACE) for _ in range(20)]
    assert {key_id for key_id, _ in sealed} == {"kms:vault:first"}
    assert (server.calls["Encrypt"], server.calls["Decrypt"]) == (1, 0)
    assert [await provider.open(key_id, content, PLACE) for key_id, content in sealed] == [b"content"] * 20
    assert server.calls["Decrypt"] == 0  # its own data keys it knows
    another = provider_of(server, clock)
    for key_id, content in sealed:
        assert await another.open(key_id, content, PLACE) == b"content"
    assert server.calls["Decrypt"] == 1
    await another.close()


async def test_a_changed_key_is_noticed(server: KmsServer, provider: KmsProvider, clock: ManualClock) -> None:
    before = await provider.seal(b"content", PLACE)
    server.key_id = "second"
    assert not await provider.look()  # it is asked once a minute
    await clock.advance(61)
    assert await provider.look()
    key_id, content = await provider.seal(b"content", PLACE)
    assert key_id == "kms:vault:second" == await provider.current()
    assert await provider.open(key_id, content, PLACE) == await provider.open(*before, PLACE) == b"content"


async def test_illness_is_told(server: KmsServer, provider: KmsProvider, clock: ManualClock) -> None:
    await provider.look()
    assert provider.problem == ""
    server.health = "the token has expired"
    await clock.advance(61)
    assert not await provider.look()
    assert "'the token has expired'" in provider.problem
    server.health = "ok"
    await clock.advance(11)
    assert await provider.look()  # what was not opened meanwhile can be by now
    assert provider.problem == ""


async def test_without_it_nothing_new_is_sealed(server: KmsServer, provider: KmsProvider, clock: ManualClock) -> None:
    key_id, content = await provider.seal(b"content", PLACE)
    await server.stop()
    assert await provider.open(key_id, content, PLACE) == b"content"
    another = provider_of(server, clock)
    with pytest.raises(UnavailableError, match="the KMS vault answers Status with UNAVAILABLE"):
        await another.seal(b"content", PLACE)
    with pytest.raises(UnavailableError):
        await another.open(key_id, content, PLACE)
    assert "UNAVAILABLE" in another.problem
    await server.start()
    async with asyncio.timeout(10):
        while not await another.look():
            await clock.advance(11)
    assert await another.open(key_id, content, PLACE) == b"content"
    await another.close()


async def test_what_it_does_not_open_is_lost_alone(
    server: KmsServer, provider: KmsProvider, clock: ManualClock
) -> None:
    key_id, content = await provider.seal(b"content", PLACE)
    content.data_key = b"x" * 60
    with pytest.raises(StoreError, match="INVALID_ARGUMENT: the ciphertext is broken"):
        await provider.open(key_id, content, PLACE)


async def test_watches_go_on_without_it(server: KmsServer, clock: ManualClock, tmp_path: Path) -> None:
    file = put(tmp_path / "e.yaml", document(kms(server.endpoint), IDENTITY))
    raw, place = MemoryStore(), keys.object_key(ObjectKey("", "secrets", "default", "a"))
    writer, reader = Vault(file, clock), Vault(file, clock)
    value = encode({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}).value
    async with aclosing(SealedStore(raw, reader).watch(*keys.EVERYTHING, revision=1)) as batches, asyncio.timeout(10):
        await SealedStore(raw, writer).write(Write(place, value, 0))
        await server.stop()
        async for batch in batches:
            if batch.events:
                break
        (event,) = batch.events
        assert event.value is not None
        assert StoredObject.FromString(event.value).key_id == "kms:vault:first"
        await server.start()
        running = asyncio.create_task(reader.run())
        while reader.generation == 0:
            await clock.advance(1)
        await raw.write(Write(b"/other", value, None))
        with pytest.raises(UnavailableError, match="other keys"):
            await anext(batches)
    stored = await raw.get(place)
    assert stored is not None
    assert StoredObject.FromString(await reader.open(place, stored.value)).key_id == ""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.gather(*(plugin.close() for plugin in writer.plugins))
    await raw.close()
