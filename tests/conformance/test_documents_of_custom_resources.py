"""OpenAPI of custom resources (sig-api-machinery: CustomResourcePublishOpenAPI)."""

from __future__ import annotations

from typing import Any

from definitions import DEFINITIONS, GROUP, definition, version
from expecting_client import Client

PREFIX = "com.example.stable"
BARS = {
    "type": "object",
    "description": "Foo CRD for Testing",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "type": "array",
                    "description": "List of Bars and their specs.",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "description": "Name of Bar."},
                            "feeling": {"type": "string", "enum": ["Great", "Down"]},
                            "quxType": {"type": "string", "pattern": "in-tree|out-of-tree"},
                        },
                    },
                }
            },
        }
    },
}


def shaped(schema: dict[str, Any], name: str = "v1", **more: Any) -> dict[str, Any]:
    return version(name, schema={"openAPIV3Schema": schema}, **more)


async def definitions_of(api: Client) -> dict[str, Any]:
    return (await api.get("/openapi/v2"))["definitions"]


async def test_a_schema_is_published(api: Client) -> None:
    await api.define(definition(shaped(BARS)))
    made = (await definitions_of(api))[f"{PREFIX}.v1.CronTab"]
    assert made.pop("x-kubernetes-group-version-kind") == [{"group": GROUP, "version": "v1", "kind": "CronTab"}]
    added = {name: made["properties"].pop(name) for name in ("apiVersion", "kind", "metadata")}
    assert added["apiVersion"]["description"].startswith("APIVersion defines the versioned schema")
    assert added["metadata"]["description"].startswith("Standard object's metadata.")
    assert made == BARS, "beside what all objects have it is the schema of the definition"


async def test_unknown_fields_at_the_root_and_below(api: Client) -> None:
    root = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await api.define(definition(shaped(root)))
    made = (await definitions_of(api))[f"{PREFIX}.v1.CronTab"]
    assert made.keys() == {"type", "x-kubernetes-group-version-kind"}, "or old clients would refuse all other fields"
    whole = (await api.get(f"/openapi/v3/apis/{GROUP}/v1"))["components"]["schemas"][f"{PREFIX}.v1.CronTab"]
    assert whole["x-kubernetes-preserve-unknown-fields"] is True
    assert whole["properties"].keys() == {"apiVersion", "kind", "metadata"}
    below = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    await api.define(definition(shaped(below), plural="others", kind="Other"))
    other = (await definitions_of(api))[f"{PREFIX}.v1.Other"]
    assert other["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] is True


async def test_groups_versions_and_kinds_stand_beside_each_other(api: Client) -> None:
    await api.define(definition(shaped(BARS), shaped(BARS, "v2", storage=False)))
    await api.define(definition(shaped(BARS), plural="others", kind="Other"))
    found = await definitions_of(api)
    assert {f"{PREFIX}.v1.CronTab", f"{PREFIX}.v2.CronTab", f"{PREFIX}.v1.Other"} <= found.keys()


async def test_a_renamed_version(api: Client) -> None:
    made = await api.define(definition(shaped(BARS, "v3"), shaped(BARS, "v2", storage=False)))
    made["spec"]["versions"][1]["name"] = "v4"
    await api.put(f"{DEFINITIONS}/{made['metadata']['name']}", made)

    async def renamed() -> bool:
        return f"{PREFIX}.v4.CronTab" in await definitions_of(api)

    await api.eventually(renamed)
    found = await definitions_of(api)
    assert f"{PREFIX}.v2.CronTab" not in found
    assert f"{PREFIX}.v3.CronTab" in found


async def test_a_version_that_is_served_no_more(api: Client) -> None:
    made = await api.define(definition(shaped(BARS), shaped(BARS, "v2", storage=False)))
    made["spec"]["versions"][1]["served"] = False
    await api.put(f"{DEFINITIONS}/{made['metadata']['name']}", made)

    async def withdrawn() -> bool:
        return f"{PREFIX}.v2.CronTab" not in await definitions_of(api)

    await api.eventually(withdrawn)
    assert f"{PREFIX}.v1.CronTab" in await definitions_of(api)
    index = (await api.get("/openapi/v3"))["paths"]
    assert f"apis/{GROUP}/v1" in index
    assert f"apis/{GROUP}/v2" not in index
