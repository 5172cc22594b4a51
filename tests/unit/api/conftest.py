"""An api in memory, driven through its pipeline as HTTP drives it."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from orch.bus.protocol import Message, Signal
from orch.clock import ManualClock
from orch.store.keys import ObjectKey
from orch_api.auth.identity import Caller
from orch_api.memory import InMemoryApi, in_memory_api
from orch_api.pipeline import Outcome, WriteOptions
from orch_api.storage.read import ListOptions, Page
from orch_pb.v1.object_pb2 import ObjectEvent

ADMIN = Caller("orch:admin", ("system:masters",))


def pod(name: str = "", **spec: Any) -> dict[str, Any]:
    """Return a pod's document; without a name it gets a generated one."""
    metadata = {"name": name} if name else {"generateName": "pod-"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec}}


_GROUPS = {
    "deployments": "apps",
    "replicasets": "apps",
    "jobs": "batch",
    "ipaddresses": "networking.k8s.io",
    "servicecidrs": "networking.k8s.io",
    "endpointslices": "discovery.k8s.io",
    "roles": "rbac.authorization.k8s.io",
    "rolebindings": "rbac.authorization.k8s.io",
}


class Driver:
    """Writes and reads documents as dicts."""

    def __init__(self, api: InMemoryApi, clock: ManualClock) -> None:
        self.api = api
        self.core = api.core
        self.clock = clock

    def resource(self, plural: str, group: str = "") -> Any:
        found = self.core.registry.stored(group, plural)
        assert found is not None
        return found

    def _where(self, plural: str) -> tuple[Any, str]:
        resource = self.resource(plural, _GROUPS.get(plural, ""))
        return resource, "default" if resource.namespaced else ""

    async def create(self, plural: str, document: Any, *, namespace: str | None = None, **options: Any) -> Any:
        outcome = await self.created(plural, document, namespace=namespace, **options)
        return json.loads(outcome.json)

    async def created(
        self, plural: str, document: Any, *, namespace: str | None = None, caller: Caller = ADMIN, **options: Any
    ) -> Outcome:
        resource, default = self._where(plural)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        where = default if namespace is None else namespace
        return await self.core.pipeline.create(caller, resource, where, body, WriteOptions(**options))

    async def update(self, plural: str, document: Any, *, subresource: str = "", name: str = "", **options: Any) -> Any:
        resource, namespace = self._where(plural)
        outcome = await self.core.pipeline.update(
            ADMIN,
            resource,
            namespace,
            name or document["metadata"]["name"],
            json.dumps(document).encode(),
            WriteOptions(**options),
            subresource=subresource,
        )
        return json.loads(outcome.json)

    async def patch(
        self, plural: str, name: str, patch: Any, *, kind: Any = "merge", subresource: str = "", **options: Any
    ) -> Any:
        resource, namespace = self._where(plural)
        outcome = await self.core.pipeline.patch(
            ADMIN,
            resource,
            namespace,
            name,
            json.dumps(patch).encode(),
            kind,
            WriteOptions(**options),
            subresource=subresource,
        )
        return json.loads(outcome.json)

    async def delete(self, plural: str, name: str, options: Any = None, **write: Any) -> Outcome:
        resource, namespace = self._where(plural)
        body = b"" if options is None else json.dumps(options).encode()
        return await self.core.pipeline.delete(ADMIN, resource, namespace, name, body, WriteOptions(**write))

    async def get(self, plural: str, name: str) -> Any:
        resource, namespace = self._where(plural)
        return json.loads((await self.core.reader.get(resource, namespace, name)).json)

    async def exists(self, plural: str, name: str) -> bool:
        resource, namespace = self._where(plural)
        await self.core.cache.catch_up()
        return self.core.cache.get(ObjectKey(resource.group, plural, namespace, name)) is not None

    async def list(self, plural: str, namespace: str | None = None, **options: Any) -> Page:
        resource, default = self._where(plural)
        where = default if namespace is None else namespace
        return await self.core.reader.list_page(resource, where, ListOptions(**options))

    async def messages(self, stream: str, subject: str, until: Callable[[dict[str, ObjectEvent]], bool]) -> Any:
        """Return what a stream says of each subject once `until` holds of it."""
        known: dict[str, ObjectEvent] = {}
        async with (
            asyncio.timeout(10),
            contextlib.aclosing(self.api.bus("orch:admin").follow(stream, [subject])) as all_,
        ):
            async for message in all_:
                if isinstance(message, Message):
                    known[message.subject] = ObjectEvent.FromString(message.data)
                elif message is Signal.RESET:
                    known.clear()
                if message is not Signal.RESET and until(known):
                    return known
        raise AssertionError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def driver(clock: ManualClock):
    async with in_memory_api(clock) as api:
        yield Driver(api, clock)


@pytest.fixture
def make_pod() -> Callable[..., dict[str, Any]]:
    return pod


@pytest.fixture
def make_driver(clock: ManualClock) -> Callable[[InMemoryApi], Driver]:
    return lambda api: Driver(api, clock)
