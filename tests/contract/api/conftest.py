"""Every kind of the registry, each with its sample: what holds for one must hold for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from asgi import Connection

from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.registry import REGISTRY, Resource
from orch_api.site import application

SAMPLES = Path(__file__).parents[2] / "support/samples"


def read_samples() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the samples by apiVersion and kind."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in sorted(SAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            found[document["apiVersion"], document["kind"]] = document
    return found


_SAMPLES = read_samples()


def name_of(resource: Resource) -> str:
    return f"{resource.qualified}/{resource.version}"


class Kind:
    """A kind as a client meets it: where it is served, and a document that is accepted."""

    def __init__(self, resource: Resource, http: Connection) -> None:
        self.resource = resource
        self.http = http
        group = f"/apis/{resource.group}" if resource.group else "/api"
        self.root = f"{group}/{resource.version}"
        inside = "/namespaces/default" if resource.namespaced else ""
        self.everywhere = f"{self.root}/{resource.plural}"
        self.path = f"{self.root}{inside}/{resource.plural}"

    def sample(self, name: str = "") -> dict[str, Any]:
        """Return a fresh sample. Fails when the kind has none: a kind comes with one."""
        text = yaml.safe_dump(_SAMPLES[self.resource.api_version, self.resource.kind])
        document: dict[str, Any] = yaml.safe_load(text)
        document["metadata"].setdefault("labels", {})["contract"] = "yes"
        if name:
            document["metadata"]["name"] = name
        return document

    async def make(self, **headers: str) -> dict[str, Any]:
        """Create the sample and return it."""
        made = await self.http("POST", self.path, self.sample(), **headers)
        assert made.status == 201, made.body
        if self.resource.kind != "CustomResourceDefinition":
            return made.json
        async with asyncio.timeout(10):  # the api itself writes its status, soon
            found = made.json
            while not found["status"].get("conditions"):
                await asyncio.sleep(0.005)
                found = (await self.http("GET", self.at(made.json))).json
        return found

    def at(self, document: dict[str, Any]) -> str:
        """Return an object's own path."""
        return f"{self.path}/{document['metadata']['name']}"


@pytest.fixture
async def http() -> AsyncIterator[Connection]:
    async with in_memory_api() as api:
        yield Connection(application(api.core, ApiConfig()))


STORED = [one for one in REGISTRY.resources if one.stored and "create" in one.verbs]


@pytest.fixture(params=STORED, ids=name_of)
def kind(request: pytest.FixtureRequest, http: Connection) -> Kind:
    return Kind(request.param, http)


@pytest.fixture
def eventually() -> Any:
    async def wait(condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)

    return wait
