"""A client of an api in memory that says which answers it expects, and watches that are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgi import Answer, Connection
from definitions import DEFINITIONS

from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi
from orch_api.site import application

PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


def each_patch(made: dict[str, Any], part: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return one change in each form of patch, with all that says which object it is, as conformance tests send it."""
    identity = {name: made["metadata"][name] for name in ("name", "namespace", "uid") if name in made["metadata"]}
    whole: dict[str, Any] = {"apiVersion": made["apiVersion"], "kind": made["kind"], "metadata": identity}
    if part == "metadata/labels":
        whole["metadata"] = {**identity, "labels": values}
    else:
        whole[part] = values
    operations = [{"op": "add", "path": f"/{part}/{name}", "value": value} for name, value in values.items()]
    return {"strategic": whole, "apply": whole, "merge": whole, "json": operations}


class Watch:
    """A watch that is under way."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def events(self) -> list[Any]:
        return self._answer.events if self._answer.body else []

    def told(self, name: str = "") -> list[str]:
        """Return the types of the events so far, about one object if it is named."""
        return [one["type"] for one in self.events if not name or one["object"]["metadata"].get("name") == name]

    async def until(self, *types: str, name: str = "") -> list[Any]:
        """Wait until the events have exactly these types; return them."""
        try:
            async with asyncio.timeout(10):
                while self.told(name) != list(types):  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.002)
        except TimeoutError:
            pytest.fail(f"told {self.told(name)} instead of {types}")
        return self.events

    async def ends(self) -> list[Any]:
        """Wait until the server ends it; return all events."""
        async with asyncio.timeout(10):
            while not self._answer.ended:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        return self.events


class Client:
    """An administrator. Each method returns the answer's document, and fails when its status is another."""

    def __init__(self, memory: InMemoryApi) -> None:
        self.memory = memory
        self.http = Connection(application(memory.core, ApiConfig()))

    async def __call__(self, method: str, path: str, body: Any = None, *, expect: int = 200, **headers: str) -> Any:
        answer = await self.http(method, path, body, host="127.0.0.1", **headers)
        assert answer.status == expect, (answer.status, answer.body[:2000])
        return answer.json

    async def get(self, path: str, *, expect: int = 200) -> Any:
        return await self("GET", path, expect=expect)

    async def create(self, path: str, body: Any, *, expect: int = 201) -> Any:
        return await self("POST", path, body, expect=expect)

    async def put(self, path: str, body: Any, *, expect: int = 200) -> Any:
        return await self("PUT", path, body, expect=expect)

    async def patch(self, path: str, body: Any, kind: str = "merge", *, expect: int = 200) -> Any:
        return await self("PATCH", path, body, expect=expect, content_type=PATCHES[kind])

    async def apply(
        self, path: str, body: Any, manager: str = "tester", *, force: bool = False, expect: int = 200
    ) -> Any:
        query = f"fieldManager={manager}" + ("&force=true" if force else "")
        where = f"{path}{'&' if '?' in path else '?'}{query}"
        return await self("PATCH", where, body, expect=expect, content_type=PATCHES["apply"])

    async def delete(self, path: str, body: Any = None, *, expect: int = 200) -> Any:
        return await self("DELETE", path, body, expect=expect)

    async def items(self, path: str) -> list[Any]:
        return (await self.get(path))["items"]

    async def names(self, path: str) -> list[str]:
        return [one["metadata"]["name"] for one in await self.items(path)]

    @asynccontextmanager
    async def watch(self, path: str, **headers: str) -> AsyncIterator[Watch]:
        """Open a watch from the state that is current when it is entered."""
        answer, serving, leave = self.http.begin("GET", path, **headers)
        try:
            async with asyncio.timeout(10):
                while not answer.status and not serving.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert answer.status == 200, answer.body
            yield Watch(answer)
        finally:
            leave.set()
            async with asyncio.timeout(10):
                await serving

    async def eventually(self, condition: Any) -> Any:
        """Wait until an awaitable condition returns something true; return that."""
        async with asyncio.timeout(10):
            while not (found := await condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return found

    async def settle(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Create an object; return it once the server has said in its status what it thinks of it."""
        if document["kind"] == "CustomResourceDefinition":
            return await self.define(document)
        made = await self.create(path, document)
        if document["kind"] != "ValidatingAdmissionPolicy":
            return made

        async def judged() -> Any:
            found = await self.get(f"{path}/{made['metadata']['name']}")
            return found if found.get("status", {}).get("observedGeneration") else None

        return await self.eventually(judged)

    async def define(self, document: dict[str, Any]) -> dict[str, Any]:
        """Create a definition; return it once it is established."""
        made = await self.create(DEFINITIONS, document)

        async def established() -> Any:
            found = await self.get(f"{DEFINITIONS}/{made['metadata']['name']}")
            conditions = {one["type"]: one["status"] for one in found["status"].get("conditions", ())}
            return found if conditions.get("Established") == "True" else None

        return await self.eventually(established)
