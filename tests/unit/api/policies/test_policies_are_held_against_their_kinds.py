"""What the status of a validating policy tells: which expressions do not fit the kinds that the policy names."""

import asyncio
from typing import Any

from definitions import DEFINITIONS, definition, version
from policies import ROOT, Governed, rule, validating

POLICIES = f"{ROOT}/validatingadmissionpolicies"


async def status(api: Governed, name: str, generation: int = 1) -> Any:
    async with asyncio.timeout(10):
        while True:
            found = (await api.http("GET", f"{POLICIES}/{name}")).json.get("status", {})
            if found.get("observedGeneration") == generation:
                return found
            await asyncio.sleep(0.005)


async def test_expressions_that_do_not_fit(api: Governed) -> None:
    rules = [rule("deployments", "apps"), rule("pods")]
    checks = ("object.spec.replicas <= 5", "object.metadata.name != '' && object.metadata.namespace != ''", "true")
    await api.put(validating("p", *checks, rules=rules))
    found = await status(api, "p")
    (warning,) = found["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[0].expression"
    assert warning["warning"].startswith("v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'replicas'")
    variables = [{"name": "image", "expression": "object.spec.template.spec.containers[0].image"}]
    await api.put(
        validating("v", rules=rules[:1], variables=variables, validations=[{"expression": "variables.image > 5"}])
    )
    found = await status(api, "v")
    (warning,) = found["typeChecking"]["expressionWarnings"]
    assert "apps/v1, Kind=Deployment: ERROR: <input>:1:17: found no matching overload for '_>_'" in warning["warning"]


async def test_expressions_that_fit_and_rules_that_name_no_kind(api: Governed) -> None:
    checks = (
        "has(object.metadata.labels) && object.metadata.labels['a'] == 'b'",
        "object.spec.template.spec.containers.all(c, has(c.resources.limits) && 'cpu' in c.resources.limits)",
        "oldObject == null || oldObject.spec.replicas <= object.spec.replicas",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.metadata.creationTimestamp == ''",
        "params.data.most == '5'",
    )
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await api.put(validating("fits", *checks, rules=[rule("deployments", "apps")], paramKind=kind))
    assert "expressionWarnings" not in (await status(api, "fits"))["typeChecking"]
    await api.put(validating("any", "object.nothing == 1", rules=[rule("*", "*", "*"), rule("pods/exec")]))
    assert "expressionWarnings" not in (await status(api, "any"))["typeChecking"]


async def test_users_kinds(api: Governed) -> None:
    schema = {"n": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}}}
    await api.http("POST", DEFINITIONS, definition(version("v1", schema)))
    group = "stable.example.com"
    async with asyncio.timeout(10):
        while api.memory.core.registry.find(group, "v1", "crontabs") is None:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.005)
    checks = ("object.spec.n < 5 && object.spec.list.all(one, one != '')", "object.spec.m == 1")
    await api.put(validating("p", *checks, rules=[rule("crontabs", group)]))
    (warning,) = (await status(api, "p"))["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[1].expression"
    assert warning["warning"].startswith(f"{group}/v1, Kind=CronTab: ERROR: <input>:1:12: undefined field 'm'")
