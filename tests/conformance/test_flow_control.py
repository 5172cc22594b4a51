"""Priority and fairness (sig-api-machinery: API priority and fairness): the objects of every cluster."""

from __future__ import annotations

from typing import Any

from expecting_client import Client

from orch.clock import ManualClock
from orch_api.memory import in_memory_api

ROOT = "/apis/flowcontrol.apiserver.k8s.io/v1"


async def test_requests_are_of_the_schema_that_is_about_them(api: Client) -> None:
    level = {
        "metadata": {"name": "test-level"},
        "spec": {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}},
        },
    }
    made = await api.create(f"{ROOT}/prioritylevelconfigurations", level)
    rules = [
        {
            "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        },
        {
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "ns", "name": "*"}}],
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": [""], "resources": ["pods/log"], "namespaces": ["a"]},
                {"verbs": ["list"], "apiGroups": [""], "resources": ["nodes"], "clusterScope": True},
            ],
        },
    ]
    schema = {
        "metadata": {"name": "test-schema"},
        "spec": {
            "matchingPrecedence": 1000,
            "priorityLevelConfiguration": {"name": "test-level"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": rules,
        },
    }
    flow = await api.create(f"{ROOT}/flowschemas", schema)

    async def schema_of(path: str, user: str) -> tuple[str, str]:
        headers = (await api.http("GET", path, host="127.0.0.1", impersonate_user=user)).headers
        return headers["x-kubernetes-pf-flowschema-uid"], headers["x-kubernetes-pf-prioritylevel-uid"]

    own = (flow["metadata"]["uid"], made["metadata"]["uid"])

    async def known() -> bool:
        return await schema_of("/api", "noxu") == own

    await api.eventually(known)
    account = "system:serviceaccount:ns:robot"
    assert await schema_of("/api/v1/nodes", account) == own
    assert await schema_of("/api/v1/namespaces/a/pods", account) != own
    assert await schema_of("/api", account) != own
    assert await schema_of("/api/v1/nodes", "noxu") != own
    await api.delete(f"{ROOT}/flowschemas/test-schema")

    async def unknown() -> bool:
        return await schema_of("/api", "noxu") != own

    await api.eventually(unknown)


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
