"""The API operations of every kind, in the order of Kubernetes' own tests ("should support … API operations")."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from expecting_client import PATCHES, Client, each_patch
from served_api import collection, sample_of

from orch_api.registry import REGISTRY, Resource

LABEL = "e2e-special-label"
NOT_REMOVED_AT_ONCE = frozenset({"CustomResourceDefinition", "Namespace"})


def kinds() -> list[Resource]:
    return [
        one
        for one in REGISTRY.resources
        if one.stored and {"create", "deletecollection", "watch"} <= one.verbs and sample_of(one) is not None
    ]


def named(sample: dict[str, Any], name: str) -> dict[str, Any]:
    made = copy.deepcopy(sample)
    made["metadata"]["name"] = name
    made["metadata"].setdefault("labels", {})[LABEL] = "yes"
    return made


@pytest.mark.parametrize("resource", kinds(), ids=lambda one: f"{one.qualified}/{one.version}")
async def test_operations(api: Client, resource: Resource) -> None:
    sample = sample_of(resource)
    assert sample is not None
    path = collection(resource)
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    selected = f"{path}?labelSelector={LABEL}=yes"
    first = named(sample, sample["metadata"]["name"])

    rows = {one["name"]: one for one in (await api.get(root))["resources"]}
    assert rows[resource.plural]["kind"] == resource.kind

    made = await api.settle(path, first)
    at = f"{path}/{made['metadata']['name']}"
    assert await api.get(at) == made
    assert [one["metadata"]["uid"] for one in await api.items(selected)] == [made["metadata"]["uid"]]
    everywhere = await api.items(f"{root}/{resource.plural}?labelSelector={LABEL}=yes")
    assert everywhere == await api.items(selected)

    version = (await api.get(selected))["metadata"]["resourceVersion"]
    async with api.watch(f"{selected}&watch=1&resourceVersion={version}") as watch:
        patched = await api.patch(at, {"metadata": {"annotations": {"patched": "true"}}})
        assert patched["metadata"]["annotations"]["patched"] == "true"
        current = await api.get(at)
        current["metadata"]["annotations"]["updated"] = "true"
        updated = await api.put(at, current)
        assert updated["metadata"]["annotations"].items() >= {"patched": "true", "updated": "true"}.items()
        events = await watch.until("MODIFIED", "MODIFIED")
        assert events[0]["object"]["metadata"]["annotations"].get("patched") == "true"
        gone = await api.delete(at, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
        assert gone["kind"] in {"Status", resource.kind}
        if resource.kind not in NOT_REMOVED_AT_ONCE:
            await watch.until("MODIFIED", "MODIFIED", "DELETED")
            await api.get(at, expect=404)
            await api.delete(at, expect=404)

    if resource.kind in NOT_REMOVED_AT_ONCE:
        return
    await api.create(path, first)
    options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
    await api.delete(selected, options)
    assert await api.items(selected) == []


ADDED = "test.example.com"


async def test_every_kind_takes_every_patch(api: Client) -> None:
    refused: list[str] = []
    for resource in kinds():
        sample = sample_of(resource)
        assert sample is not None
        path = collection(resource)
        made = await api.settle(path, named(sample, sample["metadata"]["name"]))
        at = f"{path}/{made['metadata']['name']}"
        for kind, body in each_patch(made, "metadata/labels", {ADDED: "test"}).items():
            query = "fieldValidation=Strict" + ("&fieldManager=test-apply&force=true" if kind == "apply" else "")
            answer = await api.http("PATCH", f"{at}?{query}", body, content_type=PATCHES[kind])
            labels = answer.json.get("metadata", {}).get("labels", {})
            if answer.status != 200 or {LABEL, ADDED} - labels.keys():
                refused.append(f"{kind} of {resource.qualified}: {answer.status} {answer.body[:300]}")
            await api.patch(at, {"metadata": {"labels": {ADDED: None}}})
        if resource.kind not in NOT_REMOVED_AT_ONCE:
            await api.delete(at, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    assert refused == []
