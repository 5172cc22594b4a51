"""APIServices: groups of the API that other servers serve."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from asgi import Connection
from definitions import Extended
from https_server import Asked, https_server

from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = "v1.wardle.example.com"
PLACE = "/apis/wardle.example.com/v1"
AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
LISTED = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "wardle.example.com/v1",
    "resources": [
        {
            "name": "flunders",
            "singularName": "flunder",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["get", "list", "watch", "create"],
            "shortNames": ["fl"],
        },
        {"name": "flunders/status", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}


FLUNDER = {"type": "object", "properties": {"spec": {"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec"}}}
DOCUMENTS = {
    f"/openapi/v3{PLACE}": {"openapi": "3.0.0", "info": {"title": "wardle"}, "paths": {f"{PLACE}/flunders": {}}},
    "/openapi/v2": {
        "swagger": "2.0",
        "paths": {
            f"{PLACE}/flunders": {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/Flunder"}}}}},
            "/apis/other.example.com/v1/things": {},
        },
        "definitions": {
            "Flunder": FLUNDER,
            "io.k8s.api.core.v1.PodSpec": {"type": "object", "description": "of its own"},
            "Unused": {"type": "object"},
        },
    },
}


class Server:
    """An aggregated server that answers with what it was asked."""

    def __init__(self, files: certificates.Files) -> None:
        self.files = files
        self.port = 0
        self.healthy = True
        self.asked: list[Asked] = []

    async def __call__(self, asked: Asked) -> tuple[int, Any]:
        if asked.target == PLACE:
            return (200, LISTED) if self.healthy else (500, {})
        if asked.target.startswith("/openapi/"):
            return (200, DOCUMENTS[asked.target]) if asked.target in DOCUMENTS else (404, {})
        self.asked.append(asked)
        if "watch=true" in asked.target:
            return 200, self.events()
        return 201 if asked.method == "POST" else 200, {"path": asked.target, "method": asked.method}

    async def events(self) -> AsyncIterator[Any]:
        yield {"type": "ADDED", "object": {"metadata": {"name": "a"}}}
        await asyncio.sleep(30)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server(certificates.make(tmp_path, "wardle.default.svc"))
    async with https_server(found.files, found) as found.port:
        yield found


@pytest.fixture
async def memory(server: Server) -> AsyncIterator[InMemoryApi]:
    config = ApiConfig(proxy_client_cert_file=server.files.cert, proxy_client_key_file=server.files.key)
    async with in_memory_api(config=config) as memory:
        yield memory


@pytest.fixture
async def api(memory: InMemoryApi) -> Extended:
    found = Extended(Connection(application(memory.core, ApiConfig())))
    service = {"metadata": {"name": "wardle"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    assert (await found.http("POST", "/api/v1/namespaces/default/services", service)).status == 201
    return found


def registration(server: Server, **spec: Any) -> dict[str, Any]:
    bundle = base64.b64encode(Path(server.files.ca).read_bytes()).decode()
    given = {
        "group": "wardle.example.com",
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 15,
        "service": {"namespace": "default", "name": "wardle", "port": server.port},
        "caBundle": bundle,
        **spec,
    }
    return {"metadata": {"name": NAME}, "spec": {name: value for name, value in given.items() if value is not None}}


async def available(api: Extended, reason: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            found = (await api.http("GET", f"{SERVICES}/{NAME}")).json
            for one in found.get("status", {}).get("conditions", ()):
                if one["type"] == "Available" and one["reason"] == reason:
                    return one
            await asyncio.sleep(0.01)


async def register(api: Extended, server: Server, reason: str = "Passed", **spec: Any) -> dict[str, Any]:
    made = await api.http("POST", SERVICES, registration(server, **spec))
    assert made.status == 201, made.body
    return await available(api, reason)


async def test_requests_are_passed_on(api: Extended, server: Server) -> None:
    condition = await register(api, server)
    assert (condition["status"], condition["message"]) == ("True", "all checks passed")
    path = f"{PLACE}/namespaces/default/flunders"
    made = await api.http(
        "POST", f"{path}?dryRun=All", {"kind": "Flunder"}, authorization="Bearer secret", x_remote_user="eve"
    )
    assert (made.status, made.json) == (201, {"path": f"{path}?dryRun=All", "method": "POST"})
    (asked,) = server.asked
    assert asked.json == {"kind": "Flunder"}
    assert asked.all("x-remote-user") == ["orch:admin"]
    assert "system:masters" in asked.all("x-remote-group")
    assert asked.all("authorization") == []
    assert asked.all("host") == ["wardle.default.svc"]
    assert asked.all("x-forwarded-for") == ["127.0.0.1"]


async def test_what_it_offers_is_discovered(api: Extended, server: Server) -> None:
    await register(api, server)
    groups = (await api.http("GET", "/apis")).json["groups"]
    assert "wardle.example.com" in [one["name"] for one in groups]
    listed = (await api.http("GET", PLACE)).json
    assert listed == LISTED
    everything = (await api.http("GET", "/apis", **AGGREGATED)).json["items"]
    (group,) = [one for one in everything if one["metadata"]["name"] == "wardle.example.com"]
    (resource,) = group["versions"][0]["resources"]
    assert (resource["resource"], resource["shortNames"]) == ("flunders", ["fl"])
    assert [one["subresource"] for one in resource["subresources"]] == ["status"]


async def test_its_documents_are_merged(api: Extended, server: Server) -> None:
    before = (await api.site("/openapi/v2")).json
    await register(api, server)
    place = PLACE.removeprefix("/")
    index = (await api.site("/openapi/v3")).json["paths"]
    document = await api.site(index[place]["serverRelativeURL"])
    assert document.json == DOCUMENTS[f"/openapi/v3{PLACE}"]
    merged = (await api.site("/openapi/v2")).json
    assert merged["paths"][f"{PLACE}/flunders"] == DOCUMENTS["/openapi/v2"]["paths"][f"{PLACE}/flunders"]
    assert "/apis/other.example.com/v1/things" not in merged["paths"]
    added = merged["definitions"].keys() - before["definitions"].keys()
    assert added == {"Flunder", "io.k8s.api.core.v1.PodSpec_v2"}
    reference = merged["definitions"]["Flunder"]["properties"]["spec"]["$ref"]
    assert reference == "#/definitions/io.k8s.api.core.v1.PodSpec_v2"
    assert merged["definitions"].items() >= before["definitions"].items()
    await api.http("DELETE", f"{SERVICES}/{NAME}")
    async with asyncio.timeout(10):
        while place in (await api.site("/openapi/v3")).json["paths"]:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)
    assert (await api.site("/openapi/v2")).json == before


async def test_watches_are_streams(api: Extended, server: Server) -> None:
    await register(api, server)
    answer, watching, leave = api.http.begin("GET", f"{PLACE}/flunders?watch=true")
    async with asyncio.timeout(10):
        while not answer.events:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
    assert answer.events[0]["type"] == "ADDED"
    leave.set()
    async with asyncio.timeout(10):
        await watching


async def test_strangers_may_not(memory: InMemoryApi, api: Extended, server: Server) -> None:
    await register(api, server)
    peer = {"subject": ((("commonName", "eve"),),)}
    stranger = Connection(application(memory.core, ApiConfig()), peer)
    refused = await stranger("GET", f"{PLACE}/flunders")
    assert refused.status == 403
    assert 'User "eve" cannot list resource "flunders" in API group "wardle.example.com"' in refused.json["message"]
    assert server.asked == []


async def test_a_server_that_fails_is_unavailable_until_it_is_well(api: Extended, server: Server) -> None:
    server.healthy = False
    condition = await register(api, server, "FailedDiscoveryCheck")
    assert condition["status"] == "False"
    assert (
        f"failing or missing response from https://localhost:{server.port}{PLACE}: bad status from"
        in (condition["message"])
    )
    refused = await api.http("GET", f"{PLACE}/flunders")
    assert (refused.status, refused.json["message"]) == (503, "service unavailable")
    server.healthy = True
    await available(api, "Passed")
    assert (await api.http("GET", f"{PLACE}/flunders")).status == 200


async def test_a_service_that_is_not_there(api: Extended, server: Server) -> None:
    missing = {"namespace": "default", "name": "nobody", "port": 443}
    condition = await register(api, server, "ServiceNotFound", service=missing)
    assert condition["message"] == 'service/nobody in "default" is not present'


async def test_a_server_that_cannot_be_verified(api: Extended, server: Server) -> None:
    condition = await register(api, server, "FailedDiscoveryCheck", caBundle=None)
    assert "certificate verify failed" in condition["message"]


async def test_verification_can_be_given_up(api: Extended, server: Server) -> None:
    condition = await register(api, server, caBundle=None, insecureSkipTLSVerify=True)
    assert condition["status"] == "True"


async def test_its_end_ends_it(api: Extended, server: Server) -> None:
    await register(api, server)
    await api.http("DELETE", f"{SERVICES}/{NAME}")
    assert (await api.http("GET", f"{PLACE}/flunders")).status == 404
    async with asyncio.timeout(10):
        while (await api.http("GET", PLACE)).status != 404:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_what_the_api_serves_itself_is_available(api: Extended) -> None:
    local = await api.http("GET", f"{SERVICES}/v1.apps")
    assert local.json["status"]["conditions"][0]["reason"] == "Local"
    assert (await api.http("GET", "/apis/apps/v1/deployments")).status == 200
