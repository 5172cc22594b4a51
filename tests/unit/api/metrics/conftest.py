"""An api whose rules ask a Prometheus that the test plays."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from asgi import Connection

from orch_api.config import ApiConfig
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.site import application


class Prometheus:
    """Answers every query with the series that the test gave."""

    def __init__(self) -> None:
        self.url = ""
        self.queries: list[str] = []
        self.series: list[tuple[dict[str, str], str]] = []
        self.answer: dict[str, Any] | None = None
        self.mute = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        (query,) = parse_qs((await reader.readexactly(length)).decode())["query"]
        self.queries.append(query)
        if self.mute:
            await reader.read()
        now = time.time()
        vector = [{"metric": labels, "value": [now, value]} for labels, value in self.series]
        answer = self.answer or {"status": "success", "data": {"resultType": "vector", "result": vector}}
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


RULES = {
    "custom": [
        {
            "metric": "http_requests",
            "resource": "pods",
            "query": 'sum by (pod) (rate(http_requests{namespace="$namespace",pod=~"$names",$matchers}[30s]))',
        },
        {"metric": "hits", "resource": "services", "query": 'hits{service=~"$names",$matchers}'},
        {"metric": "size", "resource": "namespaces", "query": 'size{namespace=~"$names"}', "label": "namespace"},
        {"metric": "memory", "resource": "pods", "sample": "memory"},
    ],
    "external": [{"metric": "queue_depth", "query": "queue_depth{$matchers}"}],
}


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    played = Prometheus()
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield played
    server.close()


@pytest.fixture
async def api(prometheus: Prometheus, tmp_path: Path) -> AsyncIterator[InMemoryApi]:
    file = tmp_path / "metrics.yaml"
    settings = {"url": prometheus.url, "timeout": "300ms", "cache": "60s"}
    file.write_text(yaml.safe_dump({"prometheus": settings, **RULES}))
    async with in_memory_api(config=ApiConfig(metrics_rules_file=str(file))) as api:
        yield api


@pytest.fixture
def http(api: InMemoryApi) -> Connection:
    return Connection(application(api.core, ApiConfig()))
