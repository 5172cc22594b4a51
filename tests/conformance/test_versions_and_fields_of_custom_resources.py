"""Converted and selected custom objects (sig-api-machinery: CustomResourceConversionWebhook, …FieldSelectors)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from conversion_server import ConversionServer
from definitions import DEFINITIONS, GROUP, custom, definition, version
from expecting_client import Client
from https_server import https_server

OLD, NEW = (f"/apis/{GROUP}/{name}/namespaces/default/crontabs" for name in ("v1beta1", "v1"))
SPLIT = {"host": {"type": "string"}, "port": {"type": "integer"}}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[ConversionServer]:
    found = ConversionServer(certificates.make(tmp_path, "converter.default.svc"))
    async with https_server(found.files, found) as found.port:
        yield found


def both(webhook: ConversionServer) -> dict[str, Any]:
    """Return a definition whose old version is stored; each version has selectable fields of its own."""
    old = version("v1beta1", {"hostPort": {"type": "string"}}, selectableFields=[{"jsonPath": ".spec.hostPort"}])
    fields = [{"jsonPath": ".spec.host"}, {"jsonPath": ".spec.port"}]
    return definition(old, version("v1", SPLIT, storage=False, selectableFields=fields), conversion=webhook.config())


async def test_one_object_in_both_versions(api: Client, webhook: ConversionServer) -> None:
    await api.define(both(webhook))
    await api.create(OLD, custom("a", {"hostPort": "h:80"}, api_version="v1beta1"))
    assert (await api.get(f"{NEW}/a"))["spec"] == {"host": "h", "port": 80}


async def test_a_list_of_what_was_stored_in_two_versions(api: Client, webhook: ConversionServer) -> None:
    made = await api.define(both(webhook))
    await api.create(OLD, custom("a", {"hostPort": "h:80"}, api_version="v1beta1"))
    for one in made["spec"]["versions"]:
        one["storage"] = one["name"] == "v1"
    await api.put(f"{DEFINITIONS}/crontabs.{GROUP}", made)

    async def known() -> bool:
        found = await api.get(f"{DEFINITIONS}/crontabs.{GROUP}")
        return found["status"]["storedVersions"] == ["v1beta1", "v1"]

    await api.eventually(known)
    await api.create(NEW, custom("b", {"host": "g", "port": 81}))
    newer = [one["spec"] for one in await api.items(NEW)]
    assert newer == [{"host": "h", "port": 80}, {"host": "g", "port": 81}]
    assert [one["spec"] for one in await api.items(OLD)] == [{"hostPort": "h:80"}, {"hostPort": "g:81"}]


async def test_fields_of_each_version_select(api: Client, webhook: ConversionServer) -> None:
    """Lists, watches and deletions of collections; what changes out of a selection is deleted for its watch."""
    await api.define(both(webhook))
    by_host, by_pair = f"{NEW}?fieldSelector=spec.host=h,spec.port=80", f"{OLD}?fieldSelector=spec.hostPort=h:80"
    async with api.watch(f"{by_host}&watch=1") as new, api.watch(f"{by_pair}&watch=1") as old:
        await api.create(NEW, custom("a", {"host": "h", "port": 80}))
        await api.create(OLD, custom("b", {"hostPort": "h:80"}, api_version="v1beta1"))
        await api.create(NEW, custom("c", {"host": "h", "port": 443}))
        assert await api.names(by_host) == await api.names(by_pair) == ["a", "b"]
        assert await api.names(f"{NEW}?fieldSelector=spec.port!=80") == ["c"]
        await api.patch(f"{NEW}/a", {"spec": {"port": 81}})
        assert await api.names(by_pair) == ["b"]
        await api.delete(by_host)
        for watch, key in ((new, "host"), (old, "hostPort")):
            events = await watch.until("ADDED", "ADDED", "DELETED", "DELETED")
            assert all(key in one["object"]["spec"] for one in events)
    assert await api.names(NEW) == ["a", "c"]
    refused = await api.get(f"{OLD}?fieldSelector=spec.host=h", expect=400)
    assert "field label not supported: spec.host" in refused["message"]


async def test_selectable_fields_are_published(api: Client, webhook: ConversionServer) -> None:
    await api.define(both(webhook))
    schemas = (await api.get(f"/openapi/v3/apis/{GROUP}/v1"))["components"]["schemas"]
    published = schemas["com.example.stable.v1.CronTab"]["x-kubernetes-selectable-fields"]
    assert published == [{"fieldPath": "spec.host"}, {"fieldPath": "spec.port"}]


async def test_rows_of_custom_objects_are_watched(api: Client) -> None:
    columns = [{"name": "Host", "type": "string", "jsonPath": ".spec.host"}]
    await api.define(definition(version("v1", SPLIT, additionalPrinterColumns=columns)))
    async with api.watch(f"{NEW}?watch=1&fieldSelector=metadata.name=a", **TABLE) as watch:
        for name in ("b", "a"):
            await api.create(NEW, custom(name, {"host": name * 3}))
        await api.patch(f"{NEW}/a", {"spec": {"host": "x"}})
        await api.delete(f"{NEW}/a")
        events = await watch.until("ADDED", "MODIFIED", "DELETED")
    told = [one["object"] for one in events]
    assert [one["kind"] for one in told] == ["Table"] * 3
    assert [one["name"] for one in told[0]["columnDefinitions"]] == ["Name", "Host"]
    assert [one["rows"][0]["cells"] for one in told] == [["a", "aaa"], ["a", "x"], ["a", "x"]]
    assert told[0]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
