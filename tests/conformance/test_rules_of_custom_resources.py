"""CEL rules of custom resources (sig-api-machinery: CustomResourceValidationRules)."""

from __future__ import annotations

from typing import Any

from definitions import DEFINITIONS, GROUP, custom, definition, version
from expecting_client import Client

TABS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
NUMBERS = {
    "x": {"type": "integer", "default": 0},
    "y": {"type": "integer"},
    "z": {"type": "integer", "default": 0},
    "list": {"type": "array", "items": {"type": "string"}},
}


def ruled(*rules: str, properties: dict[str, Any] | None = None) -> dict[str, Any]:
    made = version(properties=properties or NUMBERS)
    validations = [{"rule": rule} for rule in rules]
    made["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = validations
    return definition(made)


async def refused(api: Client, document: dict[str, Any]) -> str:
    return (await api.create(DEFINITIONS, document, expect=422))["message"]


async def test_rules_hold_or_refuse(api: Client) -> None:
    await api.define(ruled("self.x + self.z >= 0", "self.x < 10"))
    await api.create(TABS, custom("fits", {"x": 1, "y": 2}))
    answer = await api.create(TABS, custom("does-not", {"x": 11, "y": 2}), expect=422)
    assert "failed rule: self.x < 10" in answer["message"]


async def test_a_field_that_the_schema_does_not_have(api: Client) -> None:
    assert "undefined field 'z'" in await refused(api, ruled("self.z == 1", properties={"y": {"type": "integer"}}))


async def test_a_rule_that_is_no_expression(api: Client) -> None:
    assert "syntax error" in (await refused(api, ruled("self = 42"))).lower()


async def test_a_rule_that_costs_too_much(api: Client) -> None:
    properties = {"x": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}}
    message = await refused(api, ruled("self.x.all(s, s.all(t, t == 'string constant'))", properties=properties))
    assert "estimated rule cost exceeds budget by factor of more than" in message
    assert "try simplifying the rule, or adding maxItems, maxProperties, and maxLength" in message


async def test_a_rule_that_runs_too_long(api: Client) -> None:
    await api.define(
        ruled(
            "self.list.all(s, self.list.all(t, s + t != 'a'))",
            properties={
                "list": {"type": "array", "maxItems": 500, "items": {"type": "string", "maxLength": 5}},
            },
        )
    )
    await api.create(TABS, custom("short", {"list": ["b"] * 10}))


async def test_a_transition(api: Client) -> None:
    await api.define(ruled("self.x == oldSelf.x"))
    await api.create(TABS, custom("a", {"x": 1}))
    answer = await api.patch(f"{TABS}/a", {"spec": {"x": 2}}, expect=422)
    assert "failed rule: self.x == oldSelf.x" in answer["message"]
    await api.patch(f"{TABS}/a", {"spec": {"y": 2}})


async def test_what_was_wrong_before_may_stay(api: Client) -> None:
    """Ratcheting (CRDValidationRatcheting): values that an update leaves alone are not held against it."""
    made = await api.define(definition(version(properties=NUMBERS)))
    await api.create(TABS, custom("a", {"x": 20, "y": 1}))
    spec = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["x"]["maximum"] = 10
    await api.put(f"{DEFINITIONS}/{made['metadata']['name']}", made)

    async def tightened() -> bool:
        answer = await api.http("POST", f"{TABS}?dryRun=All", custom("b", {"x": 20}))
        return answer.status == 422

    await api.eventually(tightened)
    await api.patch(f"{TABS}/a", {"spec": {"y": 2}})
    answer = await api.patch(f"{TABS}/a", {"spec": {"x": 21}}, expect=422)
    assert "spec.x in body should be less than or equal to 10" in answer["message"]
