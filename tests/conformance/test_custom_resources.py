"""Definitions of custom resources (sig-api-machinery: CustomResourceDefinition resources, Watch, defaulting)."""

from __future__ import annotations

from typing import Any

from definitions import DEFINITIONS, GROUP, custom, definition, version
from expecting_client import Client

TABS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def other(number: int, **labels: str) -> dict[str, Any]:
    made = definition(version(), plural=f"tabs{number}", kind=f"Tab{number}")
    made["metadata"]["labels"] = labels
    return made


async def test_definitions_come_and_go(api: Client) -> None:
    await api.define(definition(version()))
    await api.create(TABS, custom("a", {}))
    await api.delete(f"{DEFINITIONS}/crontabs.{GROUP}")

    async def gone() -> bool:
        return (await api.http("GET", f"{DEFINITIONS}/crontabs.{GROUP}")).status == 404

    await api.eventually(gone)
    await api.get(TABS, expect=404)
    await api.define(definition(version()))
    assert await api.items(TABS) == []


async def test_definitions_are_listed_and_deleted_by_label(api: Client) -> None:
    for number in range(4):
        await api.define(other(number, e2e="listed" if number else "other"))
    assert len(await api.items(f"{DEFINITIONS}?labelSelector=e2e=listed")) == 3
    await api.delete(f"{DEFINITIONS}?labelSelector=e2e=listed")

    async def one_left() -> bool:
        return await api.names(DEFINITIONS) == [f"tabs0.{GROUP}"]

    await api.eventually(one_left)


async def test_the_status_of_a_definition(api: Client) -> None:
    made = await api.define(definition(version()))
    path = f"{DEFINITIONS}/{made['metadata']['name']}/status"
    read = await api.get(path)
    assert read["kind"] == "CustomResourceDefinition"
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    read["status"]["conditions"].append(condition)
    updated = await api.put(path, read)
    assert "StatusUpdate" in [one["type"] for one in updated["status"]["conditions"]]
    patch = {"metadata": {"annotations": {"patched": "yes"}}, "spec": {"scope": "Cluster"}}
    patched = await api.patch(path, patch)
    assert patched["metadata"]["annotations"] == {"patched": "yes"}
    assert patched["spec"]["scope"] == "Namespaced"


async def test_discovery_lists_definitions(api: Client) -> None:
    groups = [one["name"] for one in (await api.get("/apis"))["groups"]]
    assert "apiextensions.k8s.io" in groups
    versions = [one["version"] for one in (await api.get("/apis/apiextensions.k8s.io"))["versions"]]
    assert versions == ["v1"]
    names = [one["name"] for one in (await api.get("/apis/apiextensions.k8s.io/v1"))["resources"]]
    assert names == ["customresourcedefinitions", "customresourcedefinitions/status"]


async def test_discovery_lists_what_they_define(api: Client) -> None:
    await api.define(definition(version()))
    (row,) = (await api.get(f"/apis/{GROUP}/v1"))["resources"]
    assert row["storageVersionHash"]
    items = (await api("GET", "/apis", accept=AGGREGATED))["items"]
    (group,) = [one for one in items if one["metadata"]["name"] == GROUP]
    (resource,) = group["versions"][0]["resources"]
    assert resource["responseKind"] == {"group": GROUP, "version": "v1", "kind": "CronTab"}
    assert resource["scope"] == "Namespaced"


async def test_what_was_stored_without_a_default_has_it_when_read(api: Client) -> None:
    made = await api.define(definition(version(properties={"a": {"type": "string"}})))
    await api.create(TABS, custom("old", {}))
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] = {
        "a": {"type": "string", "default": "A"},
        "b": {"type": "string", "default": "B"},
    }
    await api.put(f"{DEFINITIONS}/{made['metadata']['name']}", made)

    async def defaulted() -> bool:
        return (await api.get(f"{TABS}/old"))["spec"] == {"a": "A", "b": "B"}

    await api.eventually(defaulted)
    new = await api.create(TABS, custom("new", {"a": "own"}))
    assert new["spec"] == {"a": "own", "b": "B"}
    assert [one["spec"]["b"] for one in await api.items(TABS)] == ["B", "B"]


async def test_watches_of_custom_objects(api: Client) -> None:
    await api.define(definition(version()))
    async with api.watch(f"{TABS}?watch=1&fieldSelector=metadata.name=name1") as watch:
        await api.create(TABS, custom("name1", {}))
        await api.create(TABS, custom("name2", {}))
        await api.patch(f"{TABS}/name1", {"metadata": {"labels": {"a": "b"}}})
        await api.delete(f"{TABS}/name1")
        await watch.until("ADDED", "MODIFIED", "DELETED")


async def test_a_watch_ends_with_its_definition(api: Client) -> None:
    """The server ends it, so that clients list again and find that nothing is served any more."""
    await api.define(definition(version()))
    await api.create(TABS, custom("a", {}))
    async with api.watch(f"{TABS}?watch=1") as watch:
        await watch.until("ADDED")
        await api.delete(f"{DEFINITIONS}/crontabs.{GROUP}")
        events = await watch.ends()
    assert [one["type"] for one in events] == ["ADDED", "DELETED"]


async def test_a_watch_ends_with_its_version(api: Client) -> None:
    made = await api.define(definition(version(), version("v2", storage=False)))
    old = f"/apis/{GROUP}/v2/namespaces/default/crontabs"
    async with api.watch(f"{old}?watch=1") as watch:
        made["spec"]["versions"][1]["served"] = False
        await api.put(f"{DEFINITIONS}/{made['metadata']['name']}", made)
        assert await watch.ends() == []


async def test_applied_and_scaled_like_others(api: Client) -> None:
    subresources = {
        "status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
    }
    number = {"type": "integer"}
    made = version(properties={"replicas": number, "cron": {"type": "string"}}, subresources=subresources)
    made["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"] = {"replicas": number}
    await api.define(definition(made))
    first = await api.apply(f"{TABS}/a", custom("a", {"replicas": 1, "cron": "* *"}), expect=201)
    assert [one["operation"] for one in first["metadata"]["managedFields"]] == ["Apply"]
    scale = await api.get(f"{TABS}/a/scale")
    scale["spec"]["replicas"] = 5
    await api.put(f"{TABS}/a/scale", scale)
    conflict = await api.apply(f"{TABS}/a", custom("a", {"replicas": 1, "cron": "* *"}), expect=409)
    assert conflict["details"]["causes"][0]["field"] == ".spec.replicas"
    status = await api.patch(f"{TABS}/a/status", {"status": {"replicas": 5}, "spec": {"cron": "no"}})
    assert (status["status"], status["spec"]["cron"]) == ({"replicas": 5}, "* *")
    assert status["metadata"]["generation"] == 2
