"""Policies that judge and change Deployments (sig-api-machinery: Validating- and MutatingAdmissionPolicy)."""

from __future__ import annotations

from typing import Any

from expecting_client import Client
from policies import ROOT, applied, binding, mutating, patched, rule, validating

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
RULES = [rule("deployments", "apps", "v1", "CREATE", "UPDATE")]


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


async def bound(api: Client, kind: str, policy: dict[str, Any]) -> None:
    await api.create(f"{ROOT}/{kind}admissionpolicies", policy)
    await api.create(f"{ROOT}/{kind}admissionpolicybindings", binding(policy))
    await api.memory.core.cache.catch_up()


async def test_a_deployment_is_judged(api: Client) -> None:
    """By its own fields, by its namespace, and by variables of the policy."""
    await api.patch("/api/v1/namespaces/default", {"metadata": {"labels": {"limit": "1"}}})
    replicas = "variables.replicas > int(namespaceObject.metadata.labels.limit)"
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ]
    validations = [
        {"expression": replicas},
        {
            "expression": "variables.oddReplicas",
            "messageExpression": "'replicas must be odd, not ' + string(variables.replicas)",
        },
    ]
    await bound(api, "validating", validating("p", rules=RULES, variables=variables, validations=validations))
    few = await api.create(DEPLOYMENTS, deployment("few"), expect=422)
    assert few["reason"] == "Invalid"
    by = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: "
    assert few["message"] == f'deployments.apps "few" is forbidden: {by}failed expression: {replicas}'
    even = await api.create(DEPLOYMENTS, deployment("even", 2), expect=422)
    assert even["message"].endswith(f"{by}replicas must be odd, not 2")
    await api.create(DEPLOYMENTS, deployment("odd", 3))


async def test_a_deployment_is_changed(api: Client) -> None:
    merged = 'Object{metadata: Object.metadata{annotations: {"mutated": "true"}}}'
    operations = """[
        JSONPatch{op: "test", path: "/spec/replicas", value: 1},
        JSONPatch{op: "replace", path: "/spec/replicas", value: object.spec.replicas + 1}
    ]"""
    await bound(api, "mutating", mutating("p", applied(merged), patched(operations), rules=RULES))
    made = await api.create(DEPLOYMENTS, deployment("web"))
    assert made["metadata"]["annotations"]["mutated"] == "true"
    assert made["spec"]["replicas"] == 2
