"""Priority and fairness (sig-api-machinery: API priority and fairness): classification by objects."""

from __future__ import annotations

from typing import Any

from expecting_client import Client

ROOT = "/apis/flowcontrol.apiserver.k8s.io/v1"


async def test_requests_are_of_the_level_that_their_schema_names(api: Client) -> None:
    level = {
        "metadata": {"name": "test-level"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 1,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    made = await api.create(f"{ROOT}/prioritylevelconfigurations", level)
    rules = [
        {
            "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        }
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
    answer = await api.http("GET", "/version", host="127.0.0.1", impersonate_user="noxu")
    assert answer.status == 200
    answer = await api.http("GET", "/api", host="127.0.0.1", impersonate_user="noxu")
    assert answer.headers["x-kubernetes-pf-flowschema-uid"] == flow["metadata"]["uid"]
    assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == made["metadata"]["uid"]
    other = await api.http("GET", "/api", host="127.0.0.1")
    assert other.headers["x-kubernetes-pf-flowschema-uid"] != flow["metadata"]["uid"]


async def test_a_schema_without_a_level_is_said_to_dangle(api: Client) -> None:
    listed = await api.items(f"{ROOT}/flowschemas")
    by_name: dict[str, Any] = {one["metadata"]["name"]: one for one in listed}
    assert {"exempt", "catch-all", "global-default"} <= by_name.keys()
    levels = set(await api.names(f"{ROOT}/prioritylevelconfigurations"))
    assert {one["spec"]["priorityLevelConfiguration"]["name"] for one in listed} <= levels


async def test_the_mandatory_ones_stay(api: Client) -> None:
    path = f"{ROOT}/prioritylevelconfigurations/catch-all"
    refused = await api.patch(path, {"spec": {"limited": {"nominalConcurrencyShares": 77}}}, expect=422)
    assert "spec of 'catch-all' must equal the fixed value" in refused["message"]
    await api.delete(path)

    async def back() -> bool:
        return (await api.http("GET", path)).status == 200

    await api.eventually(back)
