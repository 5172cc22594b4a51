"""A whole api in memory that tests without an event loop of their own can call: what property tests drive."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from asgi import ADMIN, Answer
from schema_documents import samples

from orch_api.config import ApiConfig
from orch_api.http.server import PEER
from orch_api.memory import in_memory_api
from orch_api.registry import REGISTRY, Resource
from orch_api.site import application

NAMESPACE = "default"
DEADLINE = 20.0
"""Seconds within which any request must be answered."""
PATIENCE = 0.02
"""Seconds for which an answer that has begun may go on before the client leaves: watches and streams."""


_CONNECTION: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "scheme": "https",
    "root_path": "",
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 6443),
    PEER: ADMIN,
}


def collection(resource: Resource) -> str:
    """Return the path of a resource's objects in the tests' namespace."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    inside = f"/namespaces/{NAMESPACE}" if resource.namespaced else ""
    return f"{root}{inside}/{resource.plural}"


class ServedApi:
    """Sends requests as the administrator, one after another."""

    def __init__(self, runner: asyncio.Runner, app: Any) -> None:
        self._runner = runner
        self._app = app

    def __call__(self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Return the answer, or as much of it as came at once. Raises TimeoutError when none comes."""
        return self._runner.run(self._request(method, url, body, headers or {}))

    async def _request(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        path, _, query = url.partition("?")
        scope = {
            **_CONNECTION,
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        answer, begun, leave = Answer(), asyncio.Event(), asyncio.Event()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
                begun.set()
            else:
                answer.body += message.get("body", b"")
                answer.ended = not message.get("more_body", False)

        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._app(scope, receive, send))
            serving.add_done_callback(lambda _: begun.set())
            await begun.wait()
            await asyncio.wait((serving,), timeout=PATIENCE)
            leave.set()
        return answer


@contextmanager
def served_api() -> Iterator[ServedApi]:
    """Serve an api until the context ends."""
    with asyncio.Runner() as runner:
        running = in_memory_api()
        api = runner.run(running.__aenter__())
        try:
            yield ServedApi(runner, application(api.core, ApiConfig()))
        finally:
            runner.run(running.__aexit__(None, None, None))


def sample_of(resource: Resource) -> dict[str, Any] | None:
    """Return a copy of a resource's sample, None when it has none."""
    found = samples().get((resource.api_version, resource.kind))
    return None if found is None else copy.deepcopy(found)


def sampled() -> list[Resource]:
    """Return the resources of which something can be created."""
    return [one for one in REGISTRY.resources if "create" in one.verbs and sample_of(one) is not None]
