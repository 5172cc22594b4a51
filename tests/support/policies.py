"""Admission policies for tests, as short as what they are about."""

from __future__ import annotations

from typing import Any

from asgi import Answer, Connection

from orch_api.memory import InMemoryApi

ROOT = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"content_type": "application/merge-patch+json"}


def rule(resource: str = "configmaps", group: str = "", version: str = "v1", *operations: str, **more: Any) -> Any:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": list(operations or ("CREATE", "UPDATE")),
        "resources": [resource],
        **more,
    }


def validating(name: str, *expressions: str, rules: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules or [rule()]},
            "validations": [{"expression": one} for one in expressions],
            **spec,
        },
    }


def mutating(name: str, *mutations: Any, rules: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules or [rule()]},
            "reinvocationPolicy": "Never",
            "mutations": list(mutations),
            **spec,
        },
    }


def applied(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def binding(policy: dict[str, Any], *actions: str, name: str = "", **spec: Any) -> dict[str, Any]:
    """Return a binding of a policy, named as the policy is unless told otherwise."""
    kind = policy["kind"]
    if kind.startswith("Validating"):
        spec["validationActions"] = list(actions or ("Deny",))
    called = policy["metadata"]["name"]
    return {
        "kind": f"{kind}Binding",
        "metadata": {"name": name or called},
        "spec": {"policyName": called, **spec},
    }


class Governed:
    """An api whose requests policies and webhooks look at."""

    def __init__(self, memory: InMemoryApi, http: Connection) -> None:
        self.memory = memory
        self.http = http

    async def put(self, *documents: dict[str, Any]) -> None:
        """Create objects of admissionregistration, and wait until the api knows them."""
        for one in documents:
            kind = one["kind"].lower()
            plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
            answer = await self.http("POST", f"{ROOT}/{plural}", one)
            assert answer.status == 201, answer.body
        await self.memory.core.cache.catch_up()

    async def bound(self, policy: dict[str, Any], *actions: str, **spec: Any) -> None:
        """Create a policy and a binding of it."""
        await self.put(policy, binding(policy, *actions, **spec))

    async def unbind(self, kind: str, name: str) -> None:
        """Delete a binding; `kind` is "validating" or "mutating"."""
        await self.http("DELETE", f"{ROOT}/{kind}admissionpolicybindings/{name}")
        await self.memory.core.cache.catch_up()

    async def refused(self, document: dict[str, Any]) -> str:
        """Return why an object of admissionregistration cannot be created."""
        kind = document["kind"].lower()
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        answer = await self.http("POST", f"{ROOT}/{plural}", document)
        assert answer.status == 422, answer.body
        return answer.json["message"]

    async def make(self, name: str = "a", path: str = MAPS, /, **document: Any) -> Answer:
        """Create a ConfigMap, or an object at another path."""
        metadata = {"name": name, **document.pop("metadata", {})}
        return await self.http("POST", path, {"metadata": metadata, **document})
