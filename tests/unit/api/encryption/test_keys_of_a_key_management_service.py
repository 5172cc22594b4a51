"""A key management service seals data keys; its key's change is noticed, and its absence tells what cannot be done."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from encryption_files import kms
from kms_server import KmsServer

from orch import config
from orch.clock import ManualClock
from orch.errors import StoreError, UnavailableError
from orch_api.encryption.configuration import KmsPart
from orch_api.encryption.kms import KmsProvider

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
    await provider.look()
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
    await another.close()


async def test_what_it_does_not_open_is_lost_alone(
    server: KmsServer, provider: KmsProvider, clock: ManualClock
) -> None:
    key_id, content = await provider.seal(b"content", PLACE)
    content.data_key = b"x" * 60
    with pytest.raises(StoreError, match="INVALID_ARGUMENT: the ciphertext is broken"):
        await provider.open(key_id, content, PLACE)
