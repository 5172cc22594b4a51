"""The HTTP application over an api in memory, called as a server calls it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgi import Connection
from prometheus_client import CONTENT_TYPE_LATEST

from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application


@pytest.fixture
async def api() -> AsyncIterator[InMemoryApi]:
    async with in_memory_api() as api:
        yield api


@pytest.fixture
def app(api: InMemoryApi) -> Any:
    return application(api.core, ApiConfig())


@pytest.fixture
def http(app: Any) -> Connection:
    """The administrator's connection."""
    return Connection(app)


@pytest.fixture
def anonymous(app: Any) -> Connection:
    return Connection(app, None)


@pytest.fixture
def node_client(app: Any) -> Connection:
    return Connection(app, {"subject": ((("commonName", "system:node:n"),), (("organizationName", "system:nodes"),))})


@pytest.fixture
def figures(http: Connection) -> Any:
    """Return what /metrics says of a name, as {labels: value}, labels being a frozenset of (name, value)."""

    async def read(name: str) -> dict[frozenset[tuple[str, str]], float]:
        answer = await http("GET", "/metrics")
        assert answer.headers["content-type"] == CONTENT_TYPE_LATEST
        lines = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", answer.body.decode(), re.MULTILINE)
        return {frozenset(re.findall(r'(\w+)="([^"]*)"', labels)): float(value) for labels, value in lines}

    return read


@pytest.fixture
def eventually() -> Any:
    async def wait(condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)

    return wait
