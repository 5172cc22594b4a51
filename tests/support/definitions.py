"""CustomResourceDefinitions for tests, as short as what they are about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asgi import Answer, Connection

GROUP = "stable.example.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def version(name: str = "v1", properties: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a served and stored version whose spec has `properties`; `more` replaces what a version has."""
    spec = {"type": "object", "properties": dict(properties or {})}
    root = {"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {}}}}
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": root}, **more}


def definition(*versions: dict[str, Any], kind: str = "CronTab", plural: str = "crontabs", **spec: Any) -> Any:
    """Return a definition of a namespaced kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": list(versions),
            **spec,
        },
    }


def custom(name: str, spec: Any = None, *, api_version: str = "v1", **more: Any) -> dict[str, Any]:
    """Return an object of the kind."""
    body = {"apiVersion": f"{GROUP}/{api_version}", "kind": "CronTab", "metadata": {"name": name}, **more}
    return body if spec is None else {**body, "spec": spec}


class Extended:
    """An api whose clients define kinds."""

    def __init__(self, http: Connection) -> None:
        self.http = http

    def path(self, name: str = "", api_version: str = "v1", plural: str = "crontabs") -> str:
        root = f"/apis/{GROUP}/{api_version}/namespaces/default/{plural}"
        return f"{root}/{name}" if name else root

    async def define(self, document: dict[str, Any]) -> dict[str, Any]:
        """Create a definition; return it once it is established."""
        made = await self.http("POST", DEFINITIONS, document)
        assert made.status == 201, made.json["message"]
        return await self.until(document["metadata"]["name"], "Established")

    async def until(self, name: str, condition: str, status: str = "True") -> dict[str, Any]:
        """Wait for a condition of a definition."""
        async with asyncio.timeout(10):
            while True:
                found = (await self.http("GET", f"{DEFINITIONS}/{name}")).json
                conditions = {one["type"]: one for one in found["status"].get("conditions", ())}
                if conditions.get(condition, {}).get("status") == status:
                    return found
                await asyncio.sleep(0.005)

    async def gone(self, name: str) -> None:
        """Wait until a definition is gone."""
        async with asyncio.timeout(20):
            while (await self.http("GET", f"{DEFINITIONS}/{name}")).status != 404:  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.005)

    async def site(self, path: str) -> Answer:
        """Return what the site answers, which expects what servers tell beside the request."""
        return await self.http("GET", path, host="127.0.0.1")

    async def refused(self, document: dict[str, Any]) -> str:
        """Return why a definition is refused."""
        answer = await self.http("POST", DEFINITIONS, document)
        assert answer.status == 422, answer.json
        return answer.json["message"]

    async def create(self, document: dict[str, Any], query: str = "") -> Answer:
        api_version = document["apiVersion"].rpartition("/")[2]
        return await self.http("POST", f"{self.path(api_version=api_version)}{query}", document)

    async def made(self, document: dict[str, Any]) -> Any:
        answer = await self.create(document)
        assert answer.status == 201, answer.json["message"]
        return answer.json

    async def message(self, document: dict[str, Any]) -> str:
        """Return why an object is refused."""
        answer = await self.create(document)
        assert answer.status == 422, answer.json
        return answer.json["message"]
