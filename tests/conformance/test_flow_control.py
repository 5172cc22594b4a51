"""Priority and fairness (sig-api-machinery: API priority and fairness): the objects of every cluster."""

from __future__ import annotations

from typing import Any

from expecting_client import Client

from orch.clock import ManualClock
from orch_api.memory import in_memory_api

ROOT = "/apis/flowcontrol.apiserver.k8s.io/v1"


async def test_every_schema_has_its_level(api: Client) -> None:
    listed = await api.items(f"{ROOT}/flowschemas")
    by_name: dict[str, Any] = {one["metadata"]["name"]: one for one in listed}
    assert {"exempt", "catch-all", "global-default"} <= by_name.keys()
    levels = set(await api.names(f"{ROOT}/prioritylevelconfigurations"))
    assert {one["spec"]["priorityLevelConfiguration"]["name"] for one in listed} <= levels


async def test_the_mandatory_ones_come_back() -> None:
    clock = ManualClock()
    async with in_memory_api(clock) as memory:
        await _come_back(Client(memory), clock)


async def _come_back(api: Client, clock: ManualClock) -> None:
    path = f"{ROOT}/prioritylevelconfigurations/catch-all"
    refused = await api.patch(path, {"spec": {"limited": {"nominalConcurrencyShares": 77}}}, expect=422)
    assert "spec of 'catch-all' must equal the fixed value" in refused["message"]
    await api.delete(path)
    await clock.advance(61)

    async def back() -> bool:
        return (await api.http("GET", path)).status == 200

    await api.eventually(back)
