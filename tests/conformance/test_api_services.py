"""The APIServices of what the api serves itself (kube-aggregator's autoregister; `kubectl get apiservices`)."""

from __future__ import annotations

from definitions import DEFINITIONS, GROUP, definition, version
from expecting_client import Client

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


async def test_built_in_groups_are_local_and_available(api: Client) -> None:
    groups = [one["name"] for one in (await api.get("/apis"))["groups"]]
    listed = {one["metadata"]["name"]: one for one in await api.items(SERVICES)}
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.networking.k8s.io"} <= listed.keys()
    assert {one["spec"].get("group", "") for one in listed.values()} == {"", *groups} - {"apiregistration.k8s.io"}
    for one in listed.values():
        (condition,) = one["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")
    assert listed["v1.apps"]["spec"] == {
        "group": "apps",
        "version": "v1",
        "groupPriorityMinimum": 17800,
        "versionPriority": 15,
    }
    rows = (await api("GET", SERVICES, **TABLE))["rows"]
    assert {tuple(row["cells"][1:3]) for row in rows} == {("Local", "True")}


async def test_definitions_bring_theirs_along(api: Client) -> None:
    made = await api.define(definition(version(), version("v2", storage=False)))

    async def names() -> set[str]:
        return {name for name in await api.names(SERVICES) if name.endswith(GROUP)}

    async def both() -> bool:
        return await names() == {f"v1.{GROUP}", f"v2.{GROUP}"}

    await api.eventually(both)
    registered = await api.get(f"{SERVICES}/v1.{GROUP}")
    assert (registered["spec"]["groupPriorityMinimum"], registered["spec"]["versionPriority"]) == (1000, 100)
    made["spec"]["versions"][1]["served"] = False
    await api.put(f"{DEFINITIONS}/{made['metadata']['name']}", made)

    async def one() -> bool:
        return await names() == {f"v1.{GROUP}"}

    await api.eventually(one)
    await api.delete(f"{DEFINITIONS}/{made['metadata']['name']}")

    async def none() -> bool:
        return not await names()

    await api.eventually(none)


async def test_groups_are_listed_by_their_priority(api: Client) -> None:
    """A group of somebody's own comes after the built-in ones, whatever its name."""
    await api.define(definition(version(), group="a.example.com") | {"metadata": {"name": "crontabs.a.example.com"}})
    groups = [one["name"] for one in (await api.get("/apis"))["groups"]]
    assert groups[:3] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]
    assert groups.index("a.example.com") > groups.index("storage.k8s.io")
