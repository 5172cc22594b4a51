"""Discovery and OpenAPI say what is served now."""

from collections.abc import Iterator
from typing import Any

from definitions import DEFINITIONS, GROUP, Extended, definition, version

AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
FIELDS: dict[str, Any] = {
    "size": {"type": "integer", "nullable": True, "description": "how large"},
    "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
    "any": {"type": "object", "additionalProperties": True},
    "free": {"x-kubernetes-preserve-unknown-fields": True},
}


def crons(**more: Any) -> dict[str, Any]:
    found = definition(
        version("v1beta1", FIELDS, storage=False), version("v1", FIELDS, subresources={"status": {}}), **more
    )
    found["spec"]["names"].update(shortNames=["ct"], categories=["all"])
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


async def test_plain_discovery(api: Extended) -> None:
    assert (await api.http("GET", f"/apis/{GROUP}")).status == 404
    await api.define(crons())
    groups = (await api.http("GET", "/apis")).json["groups"]
    (group,) = [one for one in groups if one["name"] == GROUP]
    assert [one["version"] for one in group["versions"]] == ["v1", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"
    rows = {one["name"]: one for one in (await api.http("GET", f"/apis/{GROUP}/v1")).json["resources"]}
    assert rows["crontabs"]["shortNames"] == ["ct"]
    assert rows["crontabs"]["categories"] == ["all"]
    assert rows["crontabs/status"]["verbs"] == ["get", "patch", "update"]
    old = (await api.http("GET", f"/apis/{GROUP}/v1beta1")).json["resources"]
    assert [one["name"] for one in old] == ["crontabs"]
    assert old[0]["storageVersionHash"] == rows["crontabs"]["storageVersionHash"]


async def test_aggregated_discovery_and_its_tag(api: Extended) -> None:
    before = await api.http("GET", "/apis", **AGGREGATED)
    await api.define(crons())
    after = await api.http("GET", "/apis", **AGGREGATED)
    assert before.headers["etag"] != after.headers["etag"]
    (group,) = [one for one in after.json["items"] if one["metadata"]["name"] == GROUP]
    (resource,) = group["versions"][0]["resources"]
    assert resource["resource"] == "crontabs"
    assert resource["responseKind"]["kind"] == "CronTab"
    assert [one["subresource"] for one in resource["subresources"]] == ["status"]
    await api.http("DELETE", f"{DEFINITIONS}/crontabs.{GROUP}")
    await api.gone(f"crontabs.{GROUP}")
    again = await api.http("GET", "/apis", **AGGREGATED)
    assert again.headers["etag"] == before.headers["etag"]


async def test_openapi_3(api: Extended) -> None:
    before = (await api.site("/openapi/v3")).json["paths"]
    await api.define(crons())
    after = (await api.site("/openapi/v3")).json["paths"]
    place = f"apis/{GROUP}/v1"
    assert place not in before
    assert {name: before[name] for name in before} == {name: after[name] for name in before}
    document = (await api.site(after[place]["serverRelativeURL"].partition("?")[0])).json
    schemas = document["components"]["schemas"]
    kind = schemas["com.example.stable.v1.CronTab"]
    assert kind["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": "v1", "kind": "CronTab"}]
    assert kind["properties"]["spec"]["properties"]["size"] == FIELDS["size"]
    assert kind["properties"]["spec"]["properties"]["any"]["additionalProperties"] is True
    dangling = {one for one in references(document) if one.removeprefix("#/components/schemas/") not in schemas}
    assert not dangling
    assert f"/apis/{GROUP}/v1/namespaces/{{namespace}}/crontabs/{{name}}/status" in document["paths"]


async def test_the_hash_changes_with_the_schema(api: Extended) -> None:
    await api.define(crons())
    place = f"apis/{GROUP}/v1"
    before = (await api.site("/openapi/v3")).json["paths"][place]
    changed = crons()
    for one in changed["spec"]["versions"]:
        one["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] = {"type": "string"}
    patch = {"spec": changed["spec"]}
    kind = {"content_type": "application/merge-patch+json"}
    await api.http("PATCH", f"{DEFINITIONS}/crontabs.{GROUP}", patch, **kind)
    await api.http("GET", "/apis")  # which waits until this process knows
    assert (await api.site("/openapi/v3")).json["paths"][place] != before


async def test_openapi_2(api: Extended) -> None:
    await api.define(crons())
    document = (await api.site("/openapi/v2")).json
    kind = document["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]
    assert kind["size"] == {"description": "how large"}
    assert kind["port"] == {"x-kubernetes-int-or-string": True}
    dangling = {
        one for one in references(document) if one.removeprefix("#/definitions/") not in document["definitions"]
    }
    assert not dangling
    assert "com.example.stable.v1.CronTabList" in document["definitions"]
