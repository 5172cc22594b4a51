"""Component statuses: the store and the bus answer, the scheduler and the controllers are led."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from expecting_client import Client

from orch.store.keys import leader_key
from orch_api.memory import in_memory_api

PATH = "/api/v1/componentstatuses"


@pytest.fixture
async def api() -> AsyncIterator[Client]:
    async with in_memory_api() as memory:
        yield Client(memory)


async def conditions(api: Client) -> dict[str, tuple[str, str]]:
    listed = await api.items(PATH)
    return {
        one["metadata"]["name"]: (one["conditions"][0]["status"], one["conditions"][0].get("error", ""))
        for one in listed
    }


async def test_who_is_not_led_is_unhealthy(api: Client) -> None:
    assert await conditions(api) == {
        "controller-manager": ("False", "none leads"),
        "etcd-0": ("True", ""),
        "nats-0": ("True", ""),
        "scheduler": ("False", "none leads"),
    }
    store = api.memory.store
    await store.acquire(leader_key("scheduler"), b"me", await store.lease_grant(60))
    assert (await conditions(api))["scheduler"] == ("True", "")


async def test_they_are_pointed_out_as_deprecated(api: Client) -> None:
    answer = await api.http("GET", f"{PATH}/scheduler")
    assert answer.headers["warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    assert (await api("POST", PATH, {}, expect=405))["reason"] == "MethodNotAllowed"
